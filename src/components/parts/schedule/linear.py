"""Linear: the learning rate rises, then falls in a straight line to its floor at the end of the run.

Devlin et al. 2018, arXiv:1810.04805
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import Fraction, Probability
from components.parts.schedule._shape import falling, progress, rising, warm_steps


@register("schedule", "linear")
class Linear:
    """Linear: warm-up to factor 1, then a straight line to ``floor`` after the last step.

    Args:
        total_steps: optimizer steps of the whole run.
        warmup: share of all steps over which the factor rises to 1.
        floor: factor after the last step.
    """

    def __init__(self, total_steps: int, *, warmup: Fraction = 0.02, floor: Probability = 0.0) -> None:
        self.total, self.floor = total_steps, floor
        self.warm = warm_steps(total_steps, warmup, called="schedule/linear")

    def __call__(self, step: int) -> float:
        if step < self.warm:
            return rising(step, self.warm)
        return falling(progress(step, self.warm, self.total), "linear", self.floor)
