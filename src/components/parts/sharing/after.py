"""Sun et al. 2024 (YOCO), arXiv:2405.05254; Gemma 3n 2025 (a lender for each kind of layer)"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegative, Positive
from components.core.sockets import Place, SequenceInfo
from components.parts.sharing._carried import put, take


@register("sharing", "after")
class SharingAfter(nn.Module):
    """One cache for the later layers: from layer ``first`` on, all read the keys and values of one layer before them.

    Args:
        first: the first layer that borrows, from 0; null: half of the layers have keys and values, rounded up.
        lender: the layer whose keys and values they read; null: the one before ``first``. Layers of different kinds (local, global) can
            have a lender each.

    Errors: ValueError if the lender is not before ``first``, or lent nothing.
    """

    carries_in = ("keys_values",)
    carries_out = ("keys_values",)

    def __init__(self, place: Place, *, first: Positive | None = None, lender: NonNegative | None = None) -> None:
        super().__init__()
        start = (place.count + 1) // 2 if first is None else first
        self.index, self.lender = place.index, start - 1 if lender is None else lender
        if self.lender >= start:
            raise ValueError(f"lender={self.lender} must be a layer before first={start}, which borrows already")
        self.borrows = place.index >= start
        self.word = f"keys_values.{self.lender}"

    def lend(self, k: Tensor, v: Tensor, k_info: SequenceInfo, info: SequenceInfo) -> None:
        if self.index == self.lender:
            put(self.word, k, v, k_info, info)

    def borrow(self, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        missing = (
            f"layer {self.index} borrows keys and values of layer {self.lender}, which lent none: "
            f"give layer {self.lender} sharing=after with the same first and lender, or name another lender"
        )
        return take(self.word, info, missing)
