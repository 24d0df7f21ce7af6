"""As in Su et al. 2021 (RoFormer), arXiv:2104.09864"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo


@register("scaling", "none")
class NoScaling(nn.Module):
    """Frequencies as they are."""

    identity = True  # a parent need not call it
    factor = 1.0

    def scale(self, frequencies: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002  the contract's arguments
        return frequencies
