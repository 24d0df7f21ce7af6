"""As in Vaswani et al. 2017, arXiv:1706.03762, which has no gate"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo


@register("gate", "none")
class NoGate(nn.Module):
    """No gate: what attention read passes as it is."""

    identity = True  # a parent need not call it

    def forward(self, read: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's arguments
        return read
