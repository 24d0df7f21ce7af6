"""Within a window, only every so many distances a key is seen, which reaches further for the same number of keys.

Beltagy et al. 2020 (Longformer), arXiv:2004.05150, section 3.1; Child et al. 2019 (strided attention), arXiv:1904.10509
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive


@register("mask", "dilated")
class DilatedMask(nn.Module):
    """Dilated window: within a window, every ``stride``-th distance is seen, the query's own position among them.

    Args:
        window: distances below this are within the window.
        stride: which of them are seen: 0, stride, 2 stride, ...; 1 is a plain sliding window.
    """

    def __init__(self, *, window: Positive = 64, stride: Positive = 2) -> None:
        super().__init__()
        self.window, self.stride = window, stride
        self.key = ("dilated", window, stride)
        self.reach = window

    def covers(self, length: int) -> bool:
        return length <= (self.window if self.stride == 1 else 1)

    def cells(self, length: int, causal: bool) -> int:
        growing = min(length, self.window)  # queries that see further than those before them
        whole, rest = divmod(growing, self.stride)
        below = self.stride * whole * (whole + 1) // 2 + rest * (whole + 1)  # of the growing ones, at or before the query
        below += (length - growing) * ((self.window - 1) // self.stride + 1)
        return below if causal else 2 * below - length

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        distance = (q_positions - k_positions).abs()
        return (distance < self.window) & (distance % self.stride == 0)
