"""Slow pairs stretch, and fast ones hardly do.

bloc97 and emozilla 2023 (in YaRN, Peng et al., arXiv:2309.00071, section 3.3); numbers as in transformers' ``dynamic``
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.functional.rotary import reach
from components.parts.scaling._lengths import stretch


@register("scaling", "dynamic_ntk")
class DynamicNTKScaling(nn.Module):
    """Dynamic NTK scaling: beyond the trained context the base grows with the length of the document.

    Args:
        factor: how fast the base grows: base * (factor * length / original - factor + 1)^(width / (width - 2)).
        original_context: length up to which nothing changes; null: context_length.

    Errors: ValueError if a single pair of channels turns.

    The length is each document's own, as far as one call sees it. Keys that a cache stored keep the angles of their time.
    """

    lacks = ("exact_cache_beyond_context",)
    factor = 1.0

    def __init__(
        self,
        width: int,
        base: float,
        context_length: int | None = None,
        *,
        factor: PositiveFloat = 1.0,
        original_context: Positive | None = None,
    ) -> None:
        super().__init__()
        if width < 4:
            raise ValueError(f"dynamic_ntk moves the base for all pairs but the first: {width} rotated channels are one pair")
        self.width, self.base, self.growth = width, base, factor
        self.original = stretch(1.0, original_context, context_length)[1]

    def scale(self, frequencies: Tensor, info: SequenceInfo) -> Tensor:
        length = (reach(info) + 1).clamp(min=self.original).float()
        grown = (self.growth * length / self.original - (self.growth - 1)) ** (self.width / (self.width - 2))
        even = torch.arange(0, self.width, 2, device=frequencies.device, dtype=torch.float32) / self.width
        return frequencies * grown[..., None] ** -even  # (B or 1, T or 1, R/2)
