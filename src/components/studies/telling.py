"""What a study says before it trains: its variants with their budgets, what was changed, what is refused, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from components.core.layout import table
from components.core.model_tree import short
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


def hours_lines(
    plan: Plan, runs: Mapping[str, int], steps: Mapping[str, tuple[float, float]], tuning: int, jobs: int
) -> list[str]:
    """How long it takes.

    Args:
        plan: what will be trained.
        runs: {variant: reported runs of it that are not there yet}.
        steps: {variant: seconds of a step, and of a run beside its steps}.
        tuning: runs of each variant that only choose values.
        jobs: processes at a time.
    """
    rows, total = [], 0.0
    for variant in plan.variants:
        step, start = steps[variant.name]
        short_steps = plan.tune.steps_of(variant.steps) if plan.tune is not None else 0
        each = start + step * variant.steps
        whole = runs[variant.name] * each + tuning * (start + step * short_steps)
        total += whole
        rows.append(
            (
                variant.name,
                f"{1000 * step:.0f} ms",
                f"{each / 60:.1f} min",
                str(runs[variant.name] + tuning),
                f"{whole / 3600:.2f} h",
            )
        )
    head = ("variant", "a step", "a run", "runs to do", "together")
    last = f"  {total / 3600:.2f} hours one after another" + (
        f", {total / 3600 / jobs:.2f} at best with jobs={jobs}" if jobs > 1 else ""
    )
    return [
        "",
        *table(rows, head=head, limit=60),
        f"{last}: steps measured on 20 of each, validations, samples and evaluations come on top",
    ]


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
