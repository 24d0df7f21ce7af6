"""The learning rate rises, then falls as one over the root of the step.

Vaswani et al. 2017, arXiv:1706.03762, equation 3 ("Noam"), in units of its peak
"""

from __future__ import annotations

from components.core.registry import register
from components.parts.schedule._shape import Falling


@register("schedule", "inverse_sqrt")
class InverseSqrt(Falling):
    """Inverse square root: warm-up to factor 1, then sqrt(w / t) at the t-th step, with w the step of the peak.

    Args:
        warmup: share of all steps over which the factor rises to 1; the longer, the slower it falls.
        floor: least factor after the warm-up.
    """

    warmup = 0.04

    def after(self, step: int) -> float:
        return max(self.floor, ((self.warm + 1) / (step + 1)) ** 0.5)
