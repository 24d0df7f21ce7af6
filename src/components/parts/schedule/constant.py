"""Goyal et al. 2017, arXiv:1706.02677 (the warm-up)"""

from __future__ import annotations

from components.core.registry import register
from components.parts.schedule._shape import WarmedUp


@register("schedule", "constant")
class Constant(WarmedUp):
    """Constant: the learning rate stays, after a warm-up if there is one.

    Args:
        total_steps: optimizer steps of the whole run; without a warm-up any number will do.
    """

    warmup = 0.0

    def __init__(self, total_steps: int) -> None:
        if self.warmup:
            super().__init__(total_steps)
        else:
            self.warm = 0  # of a run without an end, too

    def after(self, step: int) -> float:  # noqa: ARG002  the same at each
        return 1.0
