"""The learning rate rises, stays, and falls to its floor over the last part of the run.

Hu et al. 2024, arXiv:2404.06395; 1 - sqrt: Hägele et al. 2024, arXiv:2405.18392
"""

from __future__ import annotations

from typing import Literal

from components.core.registry import register
from components.core.signature import Probability
from components.parts.schedule._shape import Falling, falling, progress


@register("schedule", "wsd")
class WSD(Falling):
    """WSD: warm-up, stable at factor 1, then decay to ``floor`` after the last step.

    Args:
        decay: share of all steps over which the factor falls.
        shape: how it falls: in a straight line, as 1 - sqrt, or along half a cosine.
    """

    decay: Probability = 0.2
    shape: Literal["linear", "sqrt", "cosine"] = "linear"

    def __init__(self, total_steps: int) -> None:
        if self.warmup + self.decay > 1:
            raise ValueError(f"warmup={self.warmup} and decay={self.decay} are more than the whole run")
        super().__init__(total_steps)
        self.start = max(self.warm, total_steps - round(self.decay * total_steps))

    def after(self, step: int) -> float:
        return falling(progress(step, self.start, self.total), self.shape, self.floor)
