"""A query sees the nearest positions only, itself among them.

Beltagy et al. 2020 (Longformer), arXiv:2004.05150; Jiang et al. 2023 (Mistral), arXiv:2310.06825
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive


@register("mask", "sliding_window")
class SlidingWindowMask(nn.Module):
    """Sliding window: a query sees keys at a distance below ``window``.

    Args:
        window: positions seen in each direction that causality allows, the query's own included.
    """

    def __init__(self, *, window: Positive = 64) -> None:
        super().__init__()
        self.window = window
        self.key = ("sliding_window", window)
        self.reach = window

    def covers(self, length: int) -> bool:
        return length <= self.window

    def cells(self, length: int, causal: bool) -> int:
        seen = min(self.window, length)
        below = seen * (seen + 1) // 2 + (length - seen) * seen  # at or before the query
        return below if causal else 2 * below - length

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        return (q_positions - k_positions).abs() < self.window
