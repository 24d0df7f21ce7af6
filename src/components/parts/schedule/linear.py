"""The learning rate rises, then falls in a straight line to its floor at the end of the run.

Devlin et al. 2018, arXiv:1810.04805
"""

from __future__ import annotations

from components.core.registry import register
from components.parts.schedule._shape import Falling, falling, progress


@register("schedule", "linear")
class Linear(Falling):
    """Linear: warm-up to factor 1, then a straight line to ``floor`` after the last step."""

    def after(self, step: int) -> float:
        return falling(progress(step, self.warm, self.total), "linear", self.floor)
