"""Polynomial: the learning rate rises, then falls as a power of the share of the run that is left.

As in BERT's and fairseq's training code (Devlin et al. 2018, arXiv:1810.04805; Ott et al. 2019, arXiv:1904.01038)
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import Fraction, PositiveFloat, Probability
from components.parts.schedule._shape import progress, rising, warm_steps


@register("schedule", "polynomial")
class Polynomial:
    """Polynomial: warm-up to factor 1, then floor + (1 - floor) * (share left) ** power.

    Args:
        total_steps: optimizer steps of the whole run.
        power: 1 falls in a straight line, more falls sooner, less later.
        warmup: share of all steps over which the factor rises to 1.
        floor: factor after the last step.
    """

    def __init__(
        self, total_steps: int, *, power: PositiveFloat = 2.0, warmup: Fraction = 0.02, floor: Probability = 0.0
    ) -> None:
        self.total, self.power, self.floor = total_steps, power, floor
        self.warm = warm_steps(total_steps, warmup, called="schedule/polynomial")

    def __call__(self, step: int) -> float:
        if step < self.warm:
            return rising(step, self.warm)
        return self.floor + (1 - self.floor) * (1 - progress(step, self.warm, self.total)) ** self.power
