"""Besides the next token's logits those of tokens further ahead, each from a small transform before the same output.

Gloeckle et al. 2024, arXiv:2404.19737, section 2; the transform is the residual layer of Cai et al. 2024 (Medusa), arXiv:2401.10774, section 2.1.1
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, flops_of
from components.core.registry import register
from components.core.signature import Depth
from components.core.sockets import Maker, SequenceInfo, make
from components.functional.linear import Linear


class Ahead(nn.Module):
    """x + silu(dense(norm(x)))."""

    axes = {"dense": ("d_model", "d_model")}

    def __init__(self, d_model: int, norm: Maker["norm"]) -> None:
        super().__init__()
        self.norm = make(norm, "norm", dim=d_model)
        self.dense = Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.silu(self.dense(self.norm(x)))


@register("head", "multi_token")
class MultiToken(nn.Module):
    """Multi-token head: the next token's logits, and on request those of tokens further ahead.

    ``head(x, info)`` are the logits of the next token, ``head(x, info, ahead=k)`` those of the k-th after it, k from 1 to ``n_ahead``; the
    loss ``multi_token`` asks for all of them. The transforms of tokens ahead take no part in decoding, nor in the FLOPs reported here.

    Args:
        n_ahead: how many tokens beyond the next one are predicted.
        norm: before the dense layer of each transform.
        output: the head that makes the logits of all, shared.

    Shapes: (B, T, D) -> (B, T, V).
    """

    provides = ("ahead",)
    carries_out = ("ahead",)

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        embedding: nn.Module,
        *,
        n_ahead: Depth = 3,
        norm: Maker["norm"] = "rms",
        output: Maker["head"] = "linear",
    ) -> None:
        super().__init__()
        self.n_ahead = n_ahead
        self.output = make(output, "head", d_model=d_model, vocab_size=vocab_size, embedding=embedding)
        self.ahead = nn.ModuleList(Ahead(d_model, norm) for _ in range(n_ahead))

    def flops(self, work: Work) -> Flops:
        return flops_of(self.output, work)

    def forward(self, x: Tensor, info: SequenceInfo | None = None, ahead: int = 0) -> Tensor:
        if not 0 <= ahead <= self.n_ahead:
            raise ValueError(f"ahead={ahead}: this head predicts 0 to {self.n_ahead} tokens beyond the next; raise n_ahead")
        return self.output(self.ahead[ahead - 1](x) if ahead else x, info)
