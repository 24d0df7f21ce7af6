"""What a study says before it trains: its variants with their budgets, what was changed, what is refused, and how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from components.core.layout import table
from components.core.model_tree import short
from components.studies.hours import Hours
from components.studies.planning import Plan
from components.studies.study import REPORTED, Refused, Study, Variant

HEAD = ("variant", "parameters", "FLOPs/token", "steps", "changed to match")


def plan_lines(plan: Plan) -> list[str]:
    lines = ["", *table([_row(v, plan) for v in plan.variants], head=HEAD, limit=60)]
    if plan.match is not None:
        per = "training FLOPs per token" if plan.match.budget == "flops" else plan.match.budget
        lines.append(f"  matched: {per}, to {plan.match.tolerance:.1%}, by {plan.match.free}")
    if plan.tune is not None:
        tried = ", ".join(f"{p} {_values(plan, p)}" for p in plan.tune.options)
        long = f"{plan.tune.steps} steps" if plan.tune.steps else "a quarter of its steps"
        lines.append(f"  tuned for each variant: {tried}; {long} on seed {plan.tune.seed}, which is not reported")
    return [*lines, *refused_lines(plan.refused), f"  seeds: {', '.join(map(str, plan.seeds))}"]


def _values(plan: Plan, path: str) -> str:
    assert plan.tune is not None
    shown = ", ".join(f"{v:g}" for v in plan.tune.options[path])
    return f"x {{{shown}}}" if path in plan.tune.factors else f"{{{shown}}}"


def _row(variant: Variant, plan: Plan) -> tuple[str, ...]:
    first, match = plan.variants[0], plan.match
    changed = ", ".join(f"{path} {was} -> {now}" for path, (was, now) in variant.solved.items())
    if not changed and match is not None and not variant.is_recipe:
        changed = "nothing: agrees already"
    parameters = f"{short(variant.parameters)} ({variant.parameters / first.parameters - 1:+.1%})"
    flops = f"{short(round(variant.flops_per_token))} ({variant.flops_per_token / first.flops_per_token - 1:+.1%})"
    return variant.name, parameters, flops, str(variant.steps), changed or "-"


def refused_lines(refused: Sequence[Refused]) -> list[str]:
    return [f"  not trained: {' '.join(r.overrides)}: {r.reason}" for r in refused]


def hours_lines(hours: Hours) -> list[str]:
    """How long it takes."""
    rows = [
        (
            v.variant,
            f"{1000 * v.seconds_of_a_step:.0f} ms",
            f"{v.seconds_of_a_run / 60:.1f} min",
            str(v.runs),
            f"{v.hours:.2f} h",
        )
        for v in hours.variants
    ]
    head = ("variant", "a step", "a run", "runs to do", "together")
    best = f", {hours.at_best:.2f} at best with jobs={hours.jobs}" if hours.jobs > 1 else ""
    last = f"  {hours.total:.2f} hours one after another{best}: steps measured on 20 of each, validations, samples and evaluations come on top"
    return ["", *table(rows, head=head, limit=60), last]


def summary(study: Study) -> tuple[list[str], list[list[object]]]:
    """A table for trackers: each variant with its mean figure, its mean difference to the recipe within a seed, and its costs."""
    values = {(r.variant, r.seed): r.figures.get(study.metric) for r in study.runs if r.role == REPORTED}
    recipe, rows = study.variants[0].name, []
    for v in study.variants:
        own = {s: x for s in study.seeds if (x := values.get((v.name, s))) is not None}
        apart = [x - y for s, x in own.items() if (y := values.get((recipe, s))) is not None]
        means = [fmean(own.values()) if own else None, fmean(apart) if apart else None]
        rows.append([v.name, len(own), *means, v.parameters, v.flops_per_token, v.steps])
    return ["variant", "seeds", study.metric, "difference", "parameters", "FLOPs per token", "steps"], rows
