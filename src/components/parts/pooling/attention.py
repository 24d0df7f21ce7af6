"""A learned query weighs the positions.

Yang et al. 2016 (hierarchical attention), NAACL, equation 6; several heads as in Lin et al. 2017, arXiv:1703.03130
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, both
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32


@register("pooling", "attention")
class AttentionPooling(nn.Module):
    """Attention pooling: softmax over positions of x q / sqrt(D), each head with a query of its own for its share of the channels.

    Args:
        n_heads: number of queries; it divides d_model.

    Shapes: (B, T, D) -> (B, D).
    """

    axes = {"query": ("d_model", "heads")}

    def __init__(self, d_model: int, *, n_heads: Positive = 1) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}; take a divisor")
        self.n_heads = n_heads
        self.query = Linear(d_model, n_heads, bias=False)

    def flops(self, work: Work) -> Flops:
        """The scores, and the weighted sum of all channels."""
        return both(2 * (self.query.weight.numel() + self.query.in_features) * work.length)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        b, t, d = x.shape
        scores = self.query(x) / math.sqrt(d)  # (B, T, H)
        scores = at_least_fp32(scores)
        if info.valid is not None:
            scores = scores.masked_fill(~info.valid[:, :, None], torch.finfo(scores.dtype).min)
        weights = scores.softmax(1).to(x.dtype).transpose(1, 2)[:, :, None]  # (B, H, 1, T)
        values = x if info.valid is None else x.masked_fill(~info.valid[:, :, None], 0.0)
        values = values.reshape(b, t, self.n_heads, d // self.n_heads).transpose(1, 2)
        return (weights @ values).reshape(b, d)
