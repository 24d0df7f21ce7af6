"""Causality, documents and padding are the sequence's own."""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register


@register("mask", "full")
class FullMask(nn.Module):
    """Full attention: distance hides nothing."""

    key = ("full",)
    reach: int | None = None

    def covers(self, length: int) -> bool:  # noqa: ARG002  the contract's argument
        return True

    def cells(self, length: int, causal: bool) -> int:
        return length * (length + 1) // 2 if causal else length * length

    def allow(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:  # noqa: ARG002
        return None
