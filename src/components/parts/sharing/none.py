"""As in Vaswani et al. 2017, arXiv:1706.03762"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo


@register("sharing", "none")
class NoSharing(nn.Module):
    """Every layer has keys and values of its own."""

    identity = True  # neither lends nor borrows: a parent need not ask
    borrows = False

    def lend(self, k: Tensor, v: Tensor, k_info: SequenceInfo, info: SequenceInfo) -> None:
        """Nobody is offered anything."""

    def borrow(self, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        del info
        raise AssertionError("a layer that does not borrow was asked to")
