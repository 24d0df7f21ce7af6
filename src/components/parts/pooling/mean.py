"""Reimers & Gurevych 2019 (Sentence-BERT), arXiv:1908.10084, section 3"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of


@register("pooling", "mean")
class MeanPooling(nn.Module):
    """The mean of all valid positions' vectors; 0 where none is valid.

    Shapes: (B, T, D) -> (B, D).
    """

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        if info.valid is None:
            return x.mean(1)
        kept = x.masked_fill(~info.valid[:, :, None], 0.0)  # not a product: padding may be infinite
        return kept.sum(1) / info.valid.sum(1, keepdim=True).clamp(min=1).to(x.dtype)
