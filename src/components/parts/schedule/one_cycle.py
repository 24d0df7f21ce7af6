"""The learning rate rises slowly to its peak and falls far below where it began.

Smith & Topin 2019, arXiv:1708.07120; the formula is that of ``torch.optim.lr_scheduler.OneCycleLR``
"""

from __future__ import annotations

import math
from typing import Literal

from components.core.options import Options
from components.core.registry import register
from components.core.signature import PositiveFloat, Probability
from components.parts.schedule._shape import ended


@register("schedule", "one_cycle")
class OneCycle(Options):
    """One cycle: from 1 / start_divisor to 1 over the first part of the run, then down to 1 / (start_divisor * end_divisor).

    Args:
        total_steps: optimizer steps of the whole run.
        rise: share of all steps over which the factor rises.
        shape: of rise and fall: along half a cosine, or in a straight line.
        start_divisor: the first factor is one over this.
        end_divisor: the last factor is the first over this.
        three_phases: fall to the first factor as fast as it rose, then to the last one over what is left.
    """

    rise: Probability = 0.3
    shape: Literal["cosine", "linear"] = "cosine"
    start_divisor: PositiveFloat = 25.0
    end_divisor: PositiveFloat = 1e4
    three_phases: bool = False

    def __init__(self, total_steps: int) -> None:
        ended(total_steps)
        start, end = self.start_divisor, self.end_divisor
        if start < 1 or end < 1:
            raise ValueError(f"start_divisor={start} and end_divisor={end}: each at least 1, so that 1 is the peak")
        if self.three_phases and self.rise > 0.5:
            raise ValueError(f"rise={self.rise}: with three_phases the fall is as long as the rise, so at most 0.5")
        first, last, top = 1 / start, 1 / start / end, self.rise * total_steps
        # (last step, factor before, factor at that step)
        self.phases = [(top - 1, first, 1.0), (total_steps - 1, 1.0, last)]
        if self.three_phases:
            self.phases = [(top - 1, first, 1.0), (2 * top - 2, 1.0, first), (total_steps - 1, first, last)]

    def __call__(self, step: int) -> float:
        start = 0.0
        for end, before, after in self.phases:
            if step <= end:
                share = (step - start) / (end - start) if end > start else 1.0
                if self.shape == "linear":
                    return before + (after - before) * share
                return after + (before - after) / 2 * (1 + math.cos(math.pi * share))
            start = end
        return self.phases[-1][2]
