"""Values as they were projected."""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo


@register("value", "none")
class PlainValue(nn.Module):
    """Values as they were projected."""

    identity = True  # a parent need not call it

    def forward(self, v: Tensor, x: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002  the contract's arguments
        return v
