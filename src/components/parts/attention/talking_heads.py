"""Linear maps across the heads, before and after the softmax, let a head use what another one has found.

Shazeer et al. 2020, arXiv:2003.02436
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work
from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional import watch
from components.functional.attention_mask import MaskSpec
from components.functional.dropout import dropout_of
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._positioned import Positioned
from components.parts.attention._softmax import head_width, heads_of, kept, softmax_flops


@register("attention", "talking_heads")
class TalkingHeadsAttention(Positioned):
    """Talking-heads attention: heads mix their scores before the softmax and their weights after it.

    The mixing matrices of the paper are 1 + ``before`` and 1 + ``after``: with small matrices every head starts as its own. A position's bias is
    added to the mixed scores. All scores are in memory at once: no fused kernel can mix heads.

    Args:
        n_heads: heads of queries, keys and values.
        head_dim: width of a head; null: d_model / n_heads.
        mix: scores before the softmax, weights after it, or both.
        position: rotates queries and keys, or biases scores.
        mask: which distances are seen.
        qk_norm: norm of queries and keys, each head's vector, before the rotation.
        dropout: probability of dropping an attention weight.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model (without head_dim), or ``mix`` names something else or nothing.
    """

    provides = ("rotates", "biases", "weights", "prefix")
    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "heads"),
        "v": ("d_model", "heads"),
        "out": ("heads", "d_model"),
        "before": ("heads", "heads"),
        "after": ("heads", "heads"),
    }

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        *,
        n_heads: Positive = 4,
        head_dim: Positive | None = None,
        mix: tuple[str, ...] = ("before", "after"),
        position: Maker["position"] = "inherit",
        mask: Maker["mask"] = "full",
        qk_norm: Maker["norm"] = "none",
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        width = head_width(d_model, n_heads, head_dim)
        if not mix or set(mix) - {"before", "after"}:
            raise ValueError(f"mix={list(mix)}: choose before, after or both; without any it is attention/mha")
        self.head_dim, self.dropout = width, dropout
        self.q, self.k, self.v = (Linear(d_model, n_heads * width, bias=False) for _ in range(3))
        self.out = Linear(n_heads * width, d_model, bias=False)
        self.before, self.after = (
            Linear(n_heads, n_heads, bias=False) if name in mix else None for name in ("before", "after")
        )
        self.mask = make(mask, "mask", context_length=context_length)
        self.q_norm, self.k_norm = (make(qk_norm, "norm", dim=width) for _ in range(2))
        self.add_position(position, d_model=d_model, n_heads=n_heads, head_dim=width, context_length=context_length)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        q, k, v = joint_linear(cast_once(x), (self.q, self.k, self.v))
        q, k = heads_of(q, self.head_dim, self.q_norm), heads_of(k, self.head_dim, self.k_norm)
        v = heads_of(v, self.head_dim)
        if self.rotates:
            q, k = self.position.rotate(q, k, info, info)
        k, v, k_info = kept(self, k, v, info)
        q, k = q.to(v.dtype), k.to(v.dtype)
        scores = _mixed(self.before, torch.matmul(q / math.sqrt(self.head_dim), k.transpose(2, 3)))
        scores = at_least_fp32(scores)
        bias = self.position.bias(q, k, info, k_info) if self.biased else None
        if bias is not None:
            scores = scores + bias
        spec = MaskSpec(info, k_info, info.causal, self.mask)
        weights = scores.masked_fill(~spec.dense(x.device), float("-inf")).softmax(-1).to(v.dtype)
        weights = _mixed(self.after, weights)
        if watch.sink is not None:
            watch.sink("weights", weights=weights, v=v, q=q, k=k)
        if self.training and self.dropout > 0.0:
            weights = dropout_of(weights, self.dropout)
        return self.out(torch.matmul(weights.to(v.dtype), v).transpose(1, 2).flatten(2))

    def flops(self, work: Work) -> Flops:
        mixing = sum(2 * m.weight.numel() for m in (self.before, self.after) if m is not None)
        total = softmax_flops(self, work, per_cell=4 * self.q.out_features + mixing)
        once = mixing * work.length  # what the sum over the children took for the matrices, which work on pairs
        return Flops(total.executed - once, total.algorithm - once)


def _mixed(matrix: nn.Module | None, y: Tensor) -> Tensor:
    """(B, H, Tq, Tk) -> the same, each head with what the others add."""
    return y if matrix is None else y + matrix(y.movedim(1, -1)).movedim(-1, 1)
