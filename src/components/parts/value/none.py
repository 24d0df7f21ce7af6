"""As in Vaswani et al. 2017, arXiv:1706.03762"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo


@register("value", "none")
class PlainValue(nn.Module):
    """Values as they were projected."""

    identity = True  # a parent need not call it

    def forward(self, v: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's arguments
        return v
