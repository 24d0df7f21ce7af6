"""Constant: the learning rate stays, after an optional linear warm-up.

Goyal et al. 2017, arXiv:1706.02677 (the warm-up)
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import Fraction
from components.parts.schedule._shape import rising, warm_steps


@register("schedule", "constant")
class Constant:
    """Constant: the learning rate stays, after a warm-up if there is one.

    Args:
        total_steps: optimizer steps of the whole run; without a warm-up any number will do.
        warmup: share of all steps over which the factor rises to 1.
    """

    def __init__(self, total_steps: int, *, warmup: Fraction = 0.0) -> None:
        self.warm = warm_steps(total_steps, warmup, called="a warm-up") if warmup else 0

    def __call__(self, step: int) -> float:
        return rising(step, self.warm)
