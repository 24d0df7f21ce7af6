"""Divide the logits, so that below 1 likely tokens become likelier.

Ackley, Hinton & Sejnowski 1985
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat


@register("sampler", "temperature")
class Temperature:
    """Temperature: divide every logit by ``value``.

    Args:
        value: above 1 flatter, below 1 sharper; 0 is refused.
    """

    def __init__(self, *, value: NonNegativeFloat = 1.0) -> None:
        if value == 0:
            raise ValueError("value=0 leaves no distribution to draw from; use decoding=greedy")
        self.value = value

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        return logits if self.value == 1.0 else logits / self.value
