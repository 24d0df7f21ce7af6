"""The learning rate falls by a factor at given points of the run.

He et al. 2016, arXiv:1512.03385, section 4.2; at 80 % and 90 %: DeepSeek-AI 2024, arXiv:2401.02954, section 2.3
"""

from __future__ import annotations

from components.core.registry import register
from components.core.signature import Probability
from components.parts.schedule._shape import WarmedUp, rising


@register("schedule", "multi_step")
class MultiStep(WarmedUp):
    """Multi-step: warm-up to factor 1, then times ``factor`` at each of ``at``.

    Args:
        at: shares of the run after which the factor falls, in order.
        factor: of each fall.
    """

    at: list[float] = [0.8, 0.9]
    factor: Probability = 0.316

    def __init__(self, total_steps: int) -> None:
        if list(self.at) != sorted(self.at) or any(not 0 < a <= 1 for a in self.at):
            raise ValueError(f"at={list(self.at)}: shares of the run above 0 and at most 1, in order")
        super().__init__(total_steps)
        self.falls = [round(a * total_steps) for a in self.at]

    def __call__(self, step: int) -> float:
        return rising(step, self.warm) * self.factor ** sum(step >= a for a in self.falls)
