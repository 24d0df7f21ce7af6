"""The last valid position's vector: in a causal model the only one that has seen everything.

Radford et al. 2018 (GPT), section 3.2
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of


@register("pooling", "last")
class LastPooling(nn.Module):
    """The last valid position's vector.

    Shapes: (B, T, D) -> (B, D).
    """

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        if info.valid is None:
            return x[:, -1]
        places = torch.arange(x.shape[1], device=x.device)
        last = torch.where(info.valid, places, torch.zeros_like(places)).amax(1)
        return x.gather(1, last[:, None, None].expand(-1, 1, x.shape[-1]))[:, 0]
