"""Mean of each variant: stands in for the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.studies.study import Speed, Study


@dataclass(frozen=True)
class Answer:
    means: dict[str, float]


def answer(study: Study, speeds: Sequence[Speed]) -> Answer:
    del speeds
    own = {
        v.name: [r.figures.get(study.metric) for r in study.runs if r.variant == v.name and r.role == "reported"]
        for v in study.variants
    }
    kept = {n: [x for x in xs if x is not None] for n, xs in own.items()}
    return Answer({n: sum(xs) / len(xs) for n, xs in kept.items() if xs})
