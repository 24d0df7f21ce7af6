"""Schedules one after another, each over its share of the run as if it were the whole."""

from __future__ import annotations

from itertools import accumulate

from components.core.makers import Makers, make
from components.core.options import Options
from components.core.registry import register
from components.parts.schedule._shape import ended


@register("schedule", "sequence")
class Sequence(Options):
    """Sequence: the first schedule until its share of the run is over, then the next from its own beginning.

    Args:
        total_steps: optimizer steps of the whole run.
        parts: the schedules, in order; each is told the number of steps of its share.
        shares: of the run, one for each, 1 in all; none means equal ones.
    """

    shares: list[float] = []

    def __init__(self, total_steps: int, *, parts: Makers["schedule"] = ("constant", "cosine")) -> None:
        chosen = list(parts)
        shares = list(self.shares) or [1 / max(1, len(chosen))] * len(chosen)
        ended(total_steps)
        if not chosen or len(chosen) != len(shares):
            raise ValueError(f"{len(chosen)} parts and {len(shares)} shares: give as many shares as schedules, at least one")
        if any(s <= 0 for s in shares) or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"shares={shares}: each above 0, 1 in all")
        ends = [round(total_steps * s) for s in accumulate(shares)]
        self.starts = [0, *ends[:-1]]
        if any(end <= start for start, end in zip(self.starts, ends)):
            raise ValueError(f"shares={shares} of {total_steps} steps leave a schedule without a step")
        self.parts = [make(p, "schedule", total_steps=end - start) for p, start, end in zip(chosen, self.starts, ends)]

    def __call__(self, step: int) -> float:
        now = sum(step >= start for start in self.starts) - 1
        return float(self.parts[now](step - self.starts[now]))
