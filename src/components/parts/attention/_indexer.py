"""The lightning indexer of DeepSeek sparse attention: a small attention whose scores say which keys are worth reading.

DeepSeek-AI 2025 (DeepSeek-V3.2-Exp), arXiv:2512.02556, eq. 1 to 4
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.contracts import Position
from components.core.flops import Flops, Work, children
from components.core.sockets import Maker, SequenceInfo, make
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.parts.attention._softmax import heads_of


class Asking(NamedTuple):
    """Queries (B, I, T, W), weights of the heads (B, T, I), and the info that the indexer's loss is written to."""

    q: Tensor
    weights: Tensor
    info: SequenceInfo


class LightningIndexer(nn.Module):
    """Scores of keys: the sum over heads of weight relu(q . k), with a factor of 1 / sqrt(n_heads width).

    Args:
        rank: width of what its queries are read from.
        d_model: width of what its keys and weights are read from.
        n_heads: heads; all share one key.
        width: of a query and key.
        turned: how many of their channels a position rotates, from the first.
        norm: of keys.
    """

    axes = {"q": ("latent", "head_dim"), "k": ("d_model", "head_dim"), "weights": ("d_model", "head_dim")}

    def __init__(self, rank: int, d_model: int, n_heads: int, width: int, turned: int, norm: Maker["norm"]) -> None:
        super().__init__()
        self.width, self.turned, self.scale = width, turned, (n_heads * width) ** -0.5
        self.q = Linear(rank, n_heads * width, bias=False)
        self.k = Linear(d_model, width, bias=False)
        self.k_norm = make(norm, "norm", dim=width)
        self.weights = Linear(d_model, n_heads, bias=False)

    def forward(self, x: Tensor, first: Tensor, info: SequenceInfo, position: Position | None) -> tuple[Asking, Tensor]:
        """What asks, and a key for every position, (B, 1, T, W). ``position``: what rotates both, or None."""
        q, k = heads_of(self.q(first), self.width), self.k_norm(self.k(x))[:, None]
        if position is not None:
            (q, q_rest), (k, k_rest) = (y.split((self.turned, self.width - self.turned), -1) for y in (q, k))
            q, k = position.rotate(q, k, info, info)
            q, k = torch.cat((q, q_rest.to(q.dtype)), -1), torch.cat((k, k_rest.to(k.dtype)), -1)
        return Asking(q, self.weights(x), info), k

    def scores(self, asking: Asking, k: Tensor) -> Tensor:
        """(B, Tq, Tk), in fp32 at least: (B, 1, Tk, W) are the keys."""
        with torch.autocast(k.device.type, enabled=False):
            cells = F.relu(at_least_fp32(asking.q) @ at_least_fp32(k).mT)
            weights = at_least_fp32(asking.weights)[..., None, :] * self.scale
            return (weights @ cells.transpose(1, 2)).squeeze(-2)

    def cell(self) -> int:
        """FLOPs of one score."""
        return 2 * self.weights.out_features * (self.width + 1)

    def flops(self, work: Work) -> Flops:
        return children(self, work)
