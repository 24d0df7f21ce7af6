"""What the schedules share: the warm-up, and where in the decay a step is."""

from __future__ import annotations

import math

from components.core.options import Options
from components.core.signature import Fraction, Probability


class WarmedUp(Options):
    """A schedule whose factor rises to 1 at first.

    Args:
        total_steps: optimizer steps of the whole run.
        warmup: share of all steps over which the factor rises to 1.

    Errors: ValueError for a run without an end: a share of it cannot be counted in steps.
    """

    warmup: Fraction = 0.02

    def __init__(self, total_steps: int) -> None:
        self.total, self.warm = total_steps, round(self.warmup * ended(total_steps))

    def __call__(self, step: int) -> float:
        return rising(step, self.warm) if step < self.warm else self.after(step)

    def after(self, step: int) -> float:
        """The factor at a step from the end of the warm-up on."""
        raise NotImplementedError


class Falling(WarmedUp):
    """A schedule that falls to a floor after the warm-up.

    Args:
        floor: factor after the last step.
    """

    floor: Probability = 0.0


def ended(total_steps: int) -> int:
    """The number of steps of a run that has an end. ValueError for any other."""
    if total_steps < 1:
        raise ValueError(f"needs to know the number of steps, not total_steps={total_steps}")
    return total_steps


def rising(step: int, steps: int) -> float:
    """1/(steps + 1) at step 0, 1 from ``steps`` on: no step is taken with a learning rate of 0."""
    return min(1.0, (step + 1) / (steps + 1))


def progress(step: int, start: int, end: int) -> float:
    """0 until ``start``, 1 from ``end`` on, linear between."""
    if step <= start:
        return 1.0 if step >= end else 0.0
    return min(1.0, (step - start) / (end - start))


def falling(share: float, shape: str, floor: float) -> float:
    """From 1 at ``share`` 0 to ``floor`` at ``share`` 1: ``linear``, ``cosine`` or ``sqrt`` (1 - sqrt)."""
    height = {"linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2, "sqrt": 1 - math.sqrt(share)}[shape]
    return floor + (1 - floor) * height
