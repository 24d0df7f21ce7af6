"""What the schedules share: the warm-up, and where in the decay a step is."""

from __future__ import annotations

import math


def warm_steps(total_steps: int, warmup: float, *, called: str) -> int:
    """The number of warm-up steps. A share of a run needs a run with an end."""
    if total_steps < 1:
        raise ValueError(f"{called} needs to know the number of steps, not total_steps={total_steps}")
    return round(warmup * total_steps)


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
