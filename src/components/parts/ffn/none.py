"""For layers of attention alone, or for a mixture without a shared expert."""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo


@register("ffn", "none")
class NoFFN(nn.Module):
    """No FFN: zeros, so that the branch adds nothing.

    Shapes: (..., D) -> zeros of the same.
    """

    axes = {}
    absent = True  # a block leaves the branch out, with its norm and residual

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return x * 0.0  # no new zeros: what made x keeps a gradient, of 0, which DDP waits for
