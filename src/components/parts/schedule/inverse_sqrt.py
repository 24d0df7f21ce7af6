"""Inverse square root: the learning rate rises, then falls as one over the root of the step.

Vaswani et al. 2017, arXiv:1706.03762, equation 3 ("Noam"), in units of its peak
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import Fraction, Probability
from components.parts.schedule._shape import rising, warm_steps


@register("schedule", "inverse_sqrt")
class InverseSqrt:
    """Inverse square root: warm-up to factor 1, then sqrt(w / t) at the t-th step, with w the step of the peak.

    Args:
        total_steps: optimizer steps of the whole run.
        warmup: share of all steps over which the factor rises to 1; the longer, the slower it falls.
        floor: least factor after the warm-up.
    """

    def __init__(self, total_steps: int, *, warmup: Fraction = 0.04, floor: Probability = 0.0) -> None:
        self.warm, self.floor = warm_steps(total_steps, warmup, called="schedule/inverse_sqrt"), floor

    def __call__(self, step: int) -> float:
        if step < self.warm:
            return rising(step, self.warm)
        return max(self.floor, ((self.warm + 1) / (step + 1)) ** 0.5)
