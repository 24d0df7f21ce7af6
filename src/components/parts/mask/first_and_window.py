"""The beginning of the document stays in sight however far the window has moved on.

Xiao et al. 2023 (StreamingLLM), arXiv:2309.17453
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive


@register("mask", "first_and_window")
class FirstAndWindowMask(nn.Module):
    """First positions and a window: a query sees the first ``first`` positions of its document and the nearest ``window``.

    Args:
        first: positions at a document's beginning that everyone sees (4 in the paper).
        window: positions seen in each direction that causality allows, the query's own included.
    """

    reach: int | None = None  # the first positions are seen from everywhere

    def __init__(self, *, first: Positive = 4, window: Positive = 64) -> None:
        super().__init__()
        self.first, self.window = first, window
        self.key = ("first_and_window", first, window)

    def covers(self, length: int) -> bool:
        return length <= max(self.first, self.window)

    def cells(self, length: int, causal: bool) -> int:
        def within(window: int) -> int:  # at or before the query
            seen = min(window, length)
            return seen * (seen + 1) // 2 + (length - seen) * seen

        below = within(self.window + self.first)  # before the query the two are as one window that long
        if causal:
            return below
        beyond = max(min(self.first, length) - self.window, 0)  # the first positions beyond the window after the first query
        return below + within(self.window) - length + beyond * (beyond + 1) // 2

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        return ((q_positions - k_positions).abs() < self.window) | (k_positions < self.first)
