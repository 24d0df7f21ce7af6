"""Studies for the tests of the answer: differences that are written down, and names that would break a page."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from components.studies.study import Refused, Speed, Study, StudyRun, Variant

HOSTILE = "model/norm=<script>alert(1)</script>\"'&$x_{|`\u202e"


def study_of(losses: Mapping[str, Sequence[float | None]], seeds: Sequence[int] = ()) -> Study:
    """A study whose first variant is the recipe; a loss of None is a run that failed, and one that is not finite diverged."""
    seeds = tuple(seeds or range(max(map(len, losses.values()))))
    runs = []
    for name, values in losses.items():
        for seed, loss in zip(seeds, values):
            failed = loss is None
            runs.append(
                StudyRun(
                    name,
                    seed,
                    state="failed" if failed else "done",
                    error="out of memory" if failed else None,
                    folder=f"runs/{len(runs)}",
                    figures={} if failed else {"val_loss": loss, "tokens": 51200.0},
                    curve={} if failed else {"step": [20, 60, 100], "val_loss": [loss + 1.2, loss + 0.3, loss]},
                )
            )
    variants = tuple(
        Variant(name, is_recipe=i == 0, parameters=132_032 + 64 * i, flops_per_token=8.1e5 + 1e4 * i, steps=100)
        for i, name in enumerate(losses)
    )
    return Study("llama_tiny", ("recipe=llama_tiny",), variants, tuple(runs), seeds=seeds)


def speeds_of(study: Study) -> list[Speed]:
    place = {v.name: i for i, v in enumerate(study.variants)}
    return [Speed(r.variant, r.seed, 12.0 + place[r.variant], 4000.0 - 300 * place[r.variant], 91_000_000) for r in study.runs]


def whole(hostile: bool = False) -> Study:
    """Five seeds, five variants: better, worse, not to be told, the same, failed; tuning runs, refusals, a solved width."""
    chance = random.Random(0)
    base = [2.61 + chance.gauss(0, 0.02) for _ in range(5)]
    near = [x + chance.gauss(0, 0.004) for x in base]
    losses = {
        "recipe": base,
        HOSTILE if hostile else "model/norm=dynamic_tanh": [x - 0.031 + (y - x) for x, y in zip(base, near)],
        "model/position=none": [x + 0.05 + chance.gauss(0, 0.01) for x in base],
        "model/ffn=mlp": near,
        "model.attention.kernel=reference": base,
        "model/attention=mamba2": [None, math.nan, None, None, None],
    }
    study = study_of(losses)
    first, *others = study.variants
    others[0] = replace(others[0], difference=("model.norm: rms -> dynamic_tanh", "model.norm.alpha: 0.5"))
    others[2] = replace(
        others[2], solved={"model.ffn.d_ff": (172, 258)}, difference=("model.ffn: glu -> mlp", "model.ffn.d_ff: null -> 258")
    )
    tuning = [
        StudyRun(v.name, 1000, "tuning", {"optimizer.lr": lr}, figures={"val_loss": 2.8 + (i - 1 - (n == 1)) ** 2 / 20})
        for n, v in enumerate(study.variants)
        for i, lr in enumerate((1e-3, 3e-3, 1e-2))
    ]
    return replace(
        study,
        words=("recipe=llama_tiny", f"model/norm=rms,{HOSTILE if hostile else 'dynamic_tanh'}", "seeds=5"),
        variants=(first, *others),
        runs=(*study.runs, *tuning),
        match={"budget": "parameters", "free": "model.ffn.d_ff", "tolerance": 0.005},
        tune={"options": {"optimizer.lr": [1e-3, 3e-3, 1e-2]}, "seed": 1000, "steps": 50},
        refused=(Refused(("model/position=rope_2d",), HOSTILE if hostile else "needs pictures; the data are text"),),
    )
