"""Step: the learning rate falls by a factor at equal distances.

He et al. 2016, arXiv:1512.03385, section 3.4 (divided by 10 on a plateau)
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import Fraction, PositiveFloat, Probability
from components.parts.schedule._shape import rising, warm_steps


@register("schedule", "step")
class Step:
    """Step: warm-up to factor 1, then times ``factor`` whenever another ``every`` of the run is over.

    Args:
        total_steps: optimizer steps of the whole run.
        every: share of all steps between two falls, counted from the run's first step.
        factor: of each fall.
        warmup: share of all steps over which the factor rises to 1.
    """

    def __init__(
        self, total_steps: int, *, every: PositiveFloat = 0.3, factor: Probability = 0.1, warmup: Fraction = 0.02
    ) -> None:
        self.warm = warm_steps(total_steps, warmup, called="schedule/step")
        self.every, self.factor = max(1, round(every * total_steps)), factor

    def __call__(self, step: int) -> float:
        return rising(step, self.warm) * self.factor ** (step // self.every)
