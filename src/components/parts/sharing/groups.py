"""Brandon et al. 2024 (cross-layer attention), arXiv:2405.12981"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Place, SequenceInfo
from components.parts.sharing._carried import put, take


@register("sharing", "groups")
class SharingGroups(nn.Module):
    """Groups of layers: the first of each group has keys and values, the others of the group read them too.

    Args:
        every: layers of a group; 1 shares nothing.

    Errors: ValueError if a layer borrows and none before it lent.
    """

    carries_in = ("keys_values",)
    carries_out = ("keys_values",)

    def __init__(self, place: Place, *, every: Positive = 2) -> None:
        super().__init__()
        self.index, self.every = place.index, every
        self.borrows = place.index % every != 0

    def lend(self, k: Tensor, v: Tensor, k_info: SequenceInfo, info: SequenceInfo) -> None:
        if self.every > 1:
            put("keys_values", k, v, k_info, info)

    def borrow(self, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        owner = self.index - self.index % self.every
        missing = f"layer {self.index} borrows keys and values, and no layer before it lent any: give layer {owner} sharing=groups too"
        return take("keys_values", info, missing)
