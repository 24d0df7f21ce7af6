"""How long a study will take, from 20 measured steps of each variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.studies.planning import Plan


@dataclass(frozen=True)
class VariantHours:
    """Of one variant.

    Args:
        variant: its name.
        seconds_of_a_step, seconds_of_a_run: validations and samples left out.
        runs: that are not there yet, those that only choose values among them.
        hours: of these.
    """

    variant: str
    seconds_of_a_step: float
    seconds_of_a_run: float
    runs: int
    hours: float


@dataclass(frozen=True)
class Hours:
    """Of all. ``total``: one run after another; ``at_best``: with so many ``jobs`` at a time, if they do not slow one another down."""

    variants: tuple[VariantHours, ...]
    total: float
    jobs: int
    at_best: float


def hours_of(plan: Plan, runs: Mapping[str, int], steps: Mapping[str, tuple[float, float]], tuning: int, jobs: int) -> Hours:
    """
    Args:
        plan: what will be trained.
        runs: {variant: reported runs of it that are not there yet}.
        steps: {variant: seconds of a step, and of a run beside its steps}.
        tuning: runs of each variant that only choose values.
        jobs: processes at a time.
    """
    rows = []
    for variant in plan.variants:
        step, start = steps[variant.name]
        short_steps = plan.tune.steps_of(variant.steps) if plan.tune is not None else 0
        each = start + step * variant.steps
        whole = runs[variant.name] * each + tuning * (start + step * short_steps)
        rows.append(VariantHours(variant.name, step, each, runs[variant.name] + tuning, whole / 3600))
    total = sum(row.hours for row in rows)
    return Hours(tuple(rows), total, jobs, total / jobs)
