"""The first valid position's vector: the place of a [CLS] token, which sees everything in an encoder.

Devlin et al. 2018 (BERT), arXiv:1810.04805
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of


@register("pooling", "first")
class FirstPooling(nn.Module):
    """The first valid position's vector.

    Shapes: (B, T, D) -> (B, D).
    """

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        if info.valid is None:
            return x[:, 0]
        first = info.valid.to(torch.int8).argmax(1)  # the first of equal ones
        return x.gather(1, first[:, None, None].expand(-1, 1, x.shape[-1]))[:, 0]
