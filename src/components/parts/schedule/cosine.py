"""The learning rate rises, then falls along half a cosine to its floor at the end of the run.

Loshchilov & Hutter 2017, arXiv:1608.03983 (without restarts)
"""

from __future__ import annotations

from components.core.registry import register
from components.parts.schedule._shape import Falling, falling, progress


@register("schedule", "cosine")
class Cosine(Falling):
    """Cosine: warm-up to factor 1, then half a cosine to ``floor`` after the last step."""

    floor = 0.1

    def after(self, step: int) -> float:
        return falling(progress(step, self.warm, self.total), "cosine", self.floor)
