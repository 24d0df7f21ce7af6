"""What the pictures show, as numbers: curves with their spread, differences by step, what a figure costs. Pages and PNGs draw the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from components.studies import statistics
from components.studies.answer import Answer, Row, reported
from components.studies.study import DONE, Study, StudyRun

Seen = dict[int, float]  # {step: figure} of one run
EQUAL = 0.01  # costs that differ by less are one cost: over it there is nothing to see


@dataclass(frozen=True)
class Line:
    """One variant over the steps. ``place``: its number on the page; ``low`` and ``high`` bound the band around ``middle``."""

    place: int
    steps: tuple[int, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Point:
    """One variant at its cost. ``low`` and ``high``: its worst and best seed; ``front``: no other is better and as cheap."""

    place: int
    cost: float
    value: float
    low: float
    high: float
    front: bool


@dataclass(frozen=True)
class Front:
    cost: str
    unit: str
    points: tuple[Point, ...]

    @property
    def equal(self) -> bool:
        """Whether all variants cost the same, as in a study whose budget is matched."""
        costs = [p.cost for p in self.points]
        return len(costs) > 1 and max(costs) <= min(costs) * (1 + EQUAL)


def curves(study: Study, answer: Answer) -> list[Line]:
    """The mean over seeds, with the range from the lowest seed to the highest."""
    found = []
    for place, row in enumerate(answer.rows):
        runs = [seen for r in reported(study, row.variant) if (seen := _seen(r, study.metric))]
        steps = _common(runs)
        at = [[run[s] for run in runs] for s in steps]
        if steps:
            found.append(Line(place, steps, tuple(map(fmean, at)), tuple(map(min, at)), tuple(map(max, at))))
    return found


def differences(study: Study, answer: Answer) -> list[Line]:
    """The mean difference from the recipe within a seed, with its 95 % interval by paired t; of one seed the difference alone."""
    recipe = {r.seed: _seen(r, study.metric) for r in reported(study, answer.rows[0].variant)}
    found = []
    for place, row in enumerate(answer.rows[1:], start=1):
        pairs: list[Seen] = []
        for run in reported(study, row.variant):
            own, base = _seen(run, study.metric), recipe.get(run.seed, {})
            pairs.append({step: value - base[step] for step, value in own.items() if step in base})
        pairs = [p for p in pairs if p]
        steps = _common(pairs)
        at = [[p[s] for p in pairs] for s in steps]
        middle = tuple(map(fmean, at))
        bounds = [statistics.interval_of(values) or (m, m) for values, m in zip(at, middle)]
        if steps:
            found.append(Line(place, steps, middle, tuple(b[0] for b in bounds), tuple(b[1] for b in bounds)))
    return found


def fronts(study: Study, answer: Answer) -> list[Front]:
    """The figure over time, FLOPs and parameters: of each cost that is known, with the variants on its Pareto front."""
    costs: list[tuple[str, str, list[float | None]]] = [
        ("seconds of training", "s", [r.seconds for r in answer.rows]),
        ("FLOPs of training", "", [r.flops for r in answer.rows]),
        ("parameters", "", [float(r.parameters) for r in answer.rows]),
    ]
    if all(r.flops is None for r in answer.rows):
        costs[1] = ("FLOPs per token", "", [r.flops_per_token for r in answer.rows])
    found = []
    for name, unit, values in costs:
        known = [(i, cost, row) for i, (row, cost) in enumerate(zip(answer.rows, values)) if cost and row.mean is not None]
        points = _points(study, known, -1 if answer.lower_is_better else 1)
        if points:
            found.append(Front(name, unit, points))
    return found


def _points(study: Study, known: Sequence[tuple[int, float, Row]], sign: int) -> tuple[Point, ...]:
    points = []
    for place, cost, row in known:
        mean = row.mean or 0.0
        beaten = any(
            other <= cost and sign * (r.mean or 0.0) >= sign * mean and (other < cost or r.mean != row.mean)
            for i, other, r in known
            if i != place
        )
        seeds = [r.figures[study.metric] for r in reported(study, row.variant) if r.seed in row.seeds]
        held = [v for v in seeds if v is not None]
        points.append(Point(place, cost, mean, min(held), max(held), not beaten))
    return tuple(points)


def _seen(run: StudyRun, metric: str) -> Seen:
    """The finite figures of a run by step; of a failed one nothing."""
    if run.state != DONE:
        return {}
    pairs = zip(run.curve.get("step", ()), run.curve.get(metric, ()))
    return {int(s): float(v) for s, v in pairs if v is not None and math.isfinite(v)}


def _common(runs: Sequence[Seen]) -> tuple[int, ...]:
    """The steps at which every run was looked at."""
    if not runs:
        return ()
    return tuple(sorted(set(runs[0]).intersection(*runs[1:])))
