"""What the first half wrote is added again, weighted, before the layers of the second half, last first.

Ronneberger et al. 2015, arXiv:1505.04597; for language models: Jordan et al. 2024, https://github.com/KellerJordan/modded-nanogpt
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.parts.stack._stack import Stack, passed


@register("stack", "u_net")
class UNet(Stack):
    """U-net of layers: before layer L-1-i, the stream as layer i left it is added with a learned weight, for every i below L/2.

    Args:
        initial: first value of every weight.
    """

    axes = {"skips": ("one",)}

    initial: float = 1.0

    def join(self) -> None:
        if len(self.layers) > 1:
            self.skips = nn.Parameter(torch.empty(len(self.layers) // 2))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        for skips in self.parameters(recurse=False):
            nn.init.constant_(skips, self.initial)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> tuple[Tensor, dict[str, Any]]:
        info = info_of(x, info)
        s, total = self.residual.open(x), {}
        kept: list[Tensor] = []
        half, last = len(self.layers) // 2, len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            if last - index < half:
                s = s + self.skips[last - index].to(s.dtype) * kept.pop()
            s, info, total = passed(layer, s, info, total)
            if index < half:
                kept.append(s)
        return self.leave(s), total
