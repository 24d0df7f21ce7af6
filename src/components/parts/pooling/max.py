"""Collobert et al. 2011, arXiv:1103.0398, section 3.2.2; Reimers & Gurevych 2019 (Sentence-BERT), arXiv:1908.10084"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of


@register("pooling", "max")
class MaxPooling(nn.Module):
    """The largest entry of all valid positions' vectors, channel by channel.

    Shapes: (B, T, D) -> (B, D).
    """

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        if info.valid is not None:
            x = x.masked_fill(~info.valid[:, :, None], torch.finfo(x.dtype).min)
        return x.amax(1)
