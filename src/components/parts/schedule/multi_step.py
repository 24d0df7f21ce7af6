"""Multi-step: the learning rate falls by a factor at given points of the run.

He et al. 2016, arXiv:1512.03385, section 4.2; at 80 % and 90 %: DeepSeek-AI 2024, arXiv:2401.02954, section 2.3
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import Fraction, Probability
from components.parts.schedule._shape import rising, warm_steps


@register("schedule", "multi_step")
class MultiStep:
    """Multi-step: warm-up to factor 1, then times ``factor`` at each of ``at``.

    Args:
        total_steps: optimizer steps of the whole run.
        at: shares of the run after which the factor falls, in order.
        factor: of each fall.
        warmup: share of all steps over which the factor rises to 1.
    """

    def __init__(
        self, total_steps: int, *, at: list[float] = (0.8, 0.9), factor: Probability = 0.316, warmup: Fraction = 0.02
    ) -> None:
        if list(at) != sorted(at) or any(not 0 < a <= 1 for a in at):
            raise ValueError(f"at={list(at)}: shares of the run above 0 and at most 1, in order")
        self.warm = warm_steps(total_steps, warmup, called="schedule/multi_step")
        self.at, self.factor = [round(a * total_steps) for a in at], factor

    def __call__(self, step: int) -> float:
        return rising(step, self.warm) * self.factor ** sum(step >= a for a in self.at)
