"""Positions are cut into pieces of one length, and a query sees the keys of its own piece only.

Llama 4 2025 (its layers with rotary positions)
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive


@register("mask", "chunked")
class ChunkedMask(nn.Module):
    """Chunks: a query sees the keys of its own piece of ``size`` positions only.

    Args:
        size: positions of a piece (8192 in Llama 4).
    """

    anchored = True

    def __init__(self, *, size: Positive = 64) -> None:
        super().__init__()
        self.size = size
        self.key = ("chunked", size)
        self.reach = size

    def covers(self, length: int) -> bool:
        return length <= self.size

    def cells(self, length: int, causal: bool) -> int:
        whole, rest = divmod(length, self.size)
        if causal:
            return whole * (self.size * (self.size + 1) // 2) + rest * (rest + 1) // 2
        return whole * self.size**2 + rest**2

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        return q_positions // self.size == k_positions // self.size
