"""What training from scratch does, and full fine-tuning."""

from __future__ import annotations

from components.core.registry import register
from components.core.weights import Weight


@register("tuning", "all")
class All:
    """All: every weight learns at the optimizer's own rate, but those that an adapter has frozen."""

    def __init__(self) -> None:
        pass

    def rates(self, weights: list[Weight]) -> list[float]:
        return [1.0] * len(weights)
