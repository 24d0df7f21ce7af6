"""A query sees its own block of positions and those next to it, so that information moves on from layer to layer.

Child et al. 2019 (Sparse Transformers), arXiv:1904.10509; Qiu et al. 2019 (block-wise attention), arXiv:1911.02972
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegative, Positive


@register("mask", "blocks")
class BlocksMask(nn.Module):
    """Blocks: a query sees its own block of ``size`` positions and the ``back`` blocks next to it.

    Args:
        size: positions of a block.
        back: how many blocks before the query's own are seen, and as many after it where later positions are seen at all.
    """

    anchored = True

    def __init__(self, *, size: Positive = 64, back: NonNegative = 1) -> None:
        super().__init__()
        self.size, self.back = size, back
        self.key = ("blocks", size, back)
        self.reach = size * (back + 1)

    def covers(self, length: int) -> bool:
        return length <= self.size * (self.back + 1)

    def cells(self, length: int, causal: bool) -> int:
        whole, rest = divmod(length, self.size)
        own = whole * self.size**2 + rest**2  # pairs within a block
        start = min(whole, self.back)  # the first blocks have fewer than ``back`` before them
        before = start * (start - 1) // 2 + (whole - start) * self.back  # pairs of whole blocks
        earlier = self.size * (before * self.size + rest * start)
        return earlier + (own + length) // 2 if causal else 2 * earlier + own

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        return (q_positions // self.size - k_positions // self.size).abs() <= self.back
