"""The learning rate falls by a factor at equal distances.

He et al. 2016, arXiv:1512.03385, section 3.4 (divided by 10 on a plateau)
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import PositiveFloat, Probability
from components.parts.schedule._shape import WarmedUp, rising


@register("schedule", "step")
class Step(WarmedUp):
    """Step: warm-up to factor 1, then times ``factor`` whenever another ``every`` of the run is over.

    Args:
        every: share of all steps between two falls, counted from the run's first step.
        factor: of each fall.
    """

    every: PositiveFloat = 0.3
    factor: Probability = 0.1

    def __init__(self, total_steps: int) -> None:
        super().__init__(total_steps)
        self.length = max(1, round(self.every * total_steps))

    def __call__(self, step: int) -> float:
        return rising(step, self.warm) * self.factor ** (step // self.length)
