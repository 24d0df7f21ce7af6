"""WSD: the learning rate rises, stays, and falls to its floor over the last part of the run.

Hu et al. 2024, arXiv:2404.06395; 1 - sqrt: Hägele et al. 2024, arXiv:2405.18392
"""

from __future__ import annotations

from typing import Literal

from components.core.registry import register
from components.core.signature import Fraction, Probability
from components.parts.schedule._shape import falling, progress, rising, warm_steps


@register("schedule", "wsd")
class WSD:
    """WSD: warm-up, stable at factor 1, then decay to ``floor`` after the last step.

    Args:
        total_steps: optimizer steps of the whole run.
        warmup: share of all steps over which the factor rises to 1.
        decay: share of all steps over which the factor falls.
        shape: how it falls: in a straight line, as 1 - sqrt, or along half a cosine.
        floor: factor after the last step.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        warmup: Fraction = 0.02,
        decay: Probability = 0.2,
        shape: Literal["linear", "sqrt", "cosine"] = "linear",
        floor: Probability = 0.0,
    ) -> None:
        if warmup + decay > 1:
            raise ValueError(f"warmup={warmup} and decay={decay} are more than the whole run")
        self.total, self.shape, self.floor = total_steps, shape, floor
        self.warm = warm_steps(total_steps, warmup, called="schedule/wsd")
        self.start = max(self.warm, total_steps - round(decay * total_steps))

    def __call__(self, step: int) -> float:
        if step < self.warm:
            return rising(step, self.warm)
        return falling(progress(step, self.start, self.total), self.shape, self.floor)
