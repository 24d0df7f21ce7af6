"""Several copies of the stream; each branch reads a mixture of them, and they are mixed again when it is written.

Zhu et al. 2024, arXiv:2409.19606, equations 1 to 13 and algorithm 2
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import NOTHING, Flops, Work, both
from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Place
from components.core.weights import copy_full
from components.functional.dropout import dropout_of
from components.functional.linear import Linear
from components.functional.streams import mixed


@register("residual", "hyper_connections")
class HyperConnections(nn.Module):
    """Hyper-connections: a branch reads a_m . H of n streams H and writes H -> A_r^T H + b y.

    Args:
        streams: n, how many copies of the stream there are.
        dynamic: let a_m, A_r and b depend on the streams: + factor * tanh(W norm(H)), with factors of 0.01 at first.
        dropout: probability of dropping an entry of the branch's output.

    Shapes: the stream is (B, T, n, D); it opens as n copies and closes as their sum. At first a branch reads stream ``layer mod n`` and
    writes into all (the paper counts branches; attention and ffn of one layer begin with the same stream here). The norm has no parameters,
    W would absorb them. Without a place (the stack's own, which only opens and closes) there is nothing to learn.
    """

    axes = {
        "read_weights": ("one",),
        "mix_weights": ("one",),
        "write_weights": ("one",),
        "factors": ("one",),
        "read_by": ("d_model", "state"),
        "mix_by": ("d_model", "state"),
        "write_by": ("d_model", "state"),
    }

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        streams: Positive = 4,
        dynamic: bool = True,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.streams, self.dynamic, self.dropout, self.place, self.width = streams, dynamic, dropout, place, d_model
        if place is None:
            return
        self.read_weights = nn.Parameter(torch.empty(streams))
        self.mix_weights = nn.Parameter(torch.empty(streams, streams))
        self.write_weights = nn.Parameter(torch.empty(streams))
        if dynamic:
            self.factors = nn.Parameter(torch.empty(2))
            self.read_by = Linear(d_model, 1, bias=False)
            self.mix_by = Linear(d_model, streams, bias=False)
            self.write_by = Linear(d_model, 1, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        if self.place is None:
            return
        identity = torch.eye(self.streams, device="cpu")
        copy_full(self.read_weights, identity[self.place.index % self.streams])  # the parameter may be a shard
        copy_full(self.mix_weights, identity)
        nn.init.ones_(self.write_weights)
        if self.dynamic:
            nn.init.constant_(self.factors, 0.01)

    def open(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-2).expand(*x.shape[:-1], self.streams, x.shape[-1])

    def close(self, s: Tensor) -> Tensor:
        return s.sum(-2)

    def read(self, s: Tensor) -> Tensor:
        weights = self.read_weights.to(s.dtype).expand(s.shape[:-1])
        if self.dynamic:
            weights = weights + self._shift(s, self.read_by, 0).squeeze(-1)
        return mixed(weights.unsqueeze(-2), s).squeeze(-2)

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        if self.dropout:
            y = dropout_of(y, self.dropout, self.training)
        mix = self.mix_weights.to(s.dtype).expand(*s.shape[:-1], self.streams)
        into = self.write_weights.to(s.dtype).expand(s.shape[:-1])
        if self.dynamic:
            mix = mix + self._shift(s, self.mix_by, 0)
            into = into + self._shift(s, self.write_by, 1).squeeze(-1)
        return mixed(mix.transpose(-2, -1), s) + into.unsqueeze(-1) * y.unsqueeze(-2).to(s.dtype)

    def _shift(self, s: Tensor, by: nn.Module, factor: int) -> Tensor:
        normed = F.layer_norm(s, s.shape[-1:])
        return (self.factors[factor] * torch.tanh(by(normed))).to(s.dtype)

    def flops(self, work: Work) -> Flops:
        if self.place is None:
            return NOTHING
        n = self.streams
        return both(work.length * n * self.width * (2 * (n + 1) + (2 * (n + 2) if self.dynamic else 0)))
