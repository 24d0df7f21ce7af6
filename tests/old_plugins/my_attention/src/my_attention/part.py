"""MyAttention: Softmax attention, written out.

Name the paper here: authors, year, arXiv id, equation.
"""

from __future__ import annotations

from components.flops import Flops, Work, children
from components.functional.visibility import Sight
from components.signature import Positive
from components.sockets import Maker, SequenceInfo, adopt, make
from torch import Tensor, nn

from components import register
from components.functional.attention import attend


@register("attention", "my_attention")
class MyAttention(nn.Module):
    """Softmax attention, written out.

    Args:
        n_heads: heads of queries, keys and values.
        position: rotates queries and keys, or biases scores.
        mask: which distances are seen.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model.
    """

    provides = ("rotates", "biases")  # what positions may ask of it
    axes = {"q": ("d_model", "heads"), "k": ("d_model", "heads"), "v": ("d_model", "heads"), "out": ("heads", "d_model")}

    def __init__(
        self, d_model: int, *, n_heads: Positive = 4, position: Maker["position"] = "inherit", mask: Maker["mask"] = "full"
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}; choose n_heads among its divisors")
        self.head_dim = d_model // n_heads
        self.q, self.k, self.v, self.out = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.mask = make(mask, "mask")
        adopt(self, "position", make(position, "position", d_model=d_model, n_heads=n_heads, head_dim=self.head_dim))

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        q, k, v = (y.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for y in (self.q(x), self.k(x), self.v(x)))
        if hasattr(self.position, "rotate"):
            q, k = self.position.rotate(q, k, info, info)
        k_info = info
        if info.cache is not None:  # decoding: all keys and values so far, and where they stand
            k, v, k_info = info.cache.slot(self, info.visit).append(k, v, info)
        bias = self.position.bias(q, k, info, k_info) if hasattr(self.position, "bias") else None
        read = attend(q, k, v, Sight(info, k_info, info.causal, self.mask), bias=bias)
        return self.out(read.transpose(1, 2).flatten(2))

    def flops(self, work: Work) -> Flops:
        wide, t = 4 * self.q.out_features, work.length  # scores and their sum: 2 FLOPs each per channel and cell
        return children(self, work, leave=("mask",)) + Flops(wide * t * t, wide * self.mask.cells(t, work.causal))
