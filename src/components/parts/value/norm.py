"""Gemma 3n 2025 (an RMSNorm without a scale of its own)"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, SequenceInfo, make


@register("value", "norm")
class NormedValue(nn.Module):
    """Normed values: each head's values are brought to a common scale before they are kept and read.

    Args:
        norm: over the channels of a head.

    Shapes: (B, G, T, K) -> (B, G, T, K).
    """

    def __init__(self, head_dim: int, *, norm: Maker["norm"] = "rms") -> None:
        super().__init__()
        self.norm = make(norm, "norm", dim=head_dim)

    def forward(self, v: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's arguments
        return self.norm(v)
