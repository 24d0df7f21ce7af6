"""Gemma 4 2026 (its layers that see everything)"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, SequenceInfo, make


@register("value", "from_keys")
class ValueFromKeys(nn.Module):
    """Keys as values: what is read is what was compared, the keys as they were projected, before they are normed and rotated.

    The attention has no projection of values then.

    Args:
        norm: over the channels of a head.

    Shapes: (B, G, T, K) of the keys -> (B, G, T, K).
    """

    needs = {"attention": ("keys_as_values",)}
    of_keys = True

    def __init__(self, head_dim: int, *, norm: Maker["norm"] = "none") -> None:
        super().__init__()
        self.norm = make(norm, "norm", dim=head_dim)

    def forward(self, v: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's arguments
        return self.norm(v)
