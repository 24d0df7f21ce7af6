"""A layer without mixing, for stacks of FFN alone and decoders that read no memory."""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo


@register("attention", "none")
class NoAttention(nn.Module):
    """No attention: zeros, so that the branch adds nothing and every position is alone.

    Shapes: (B, T, D) -> zeros of the same.
    """

    axes = {}
    provides = ("absent",)
    checked_with = ("model.position=none",)
    absent = True  # a block leaves the branch out, with its norm and residual

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return x * 0.0  # no new zeros: what made x keeps a gradient, of 0, which DDP waits for
