"""report.html: one file that loads nothing and runs no script, for light and dark, mouse and keyboard, and for colleagues without this library."""

from __future__ import annotations

import shlex

from components.studies.answer import Answer, reported
from components.studies.report import tables
from components.studies.report.charts import curve_chart, front_chart, interval_chart
from components.studies.report.html import document, figure, folded, items, legend, soft, table
from components.studies.report.series import EQUAL, curves, differences, fronts
from components.studies.report.svg import safe
from components.studies.sentences import amount, seeds
from components.studies.study import DONE, Study, Variant

TITLES = {
    "answer": "The answer",
    "intervals": "Differences from the recipe",
    "curves": "Curves",
    "costs": "What it costs",
    "variants": "The variants",
    "tuning": "Tuning",
    "secondary": "Further figures",
    "missing": "What did not run",
    "repeat": "How to repeat it",
}

STOPPED = (
    "A variant that was behind beyond doubt got no more seeds: the chance that any was stopped that is not behind is at most 5 %. "
    "Its mean is of the seeds it got, and shows it rather worse than it is."
)


def page(study: Study, answer: Answer) -> str:
    """The whole report. Sections without content are left out."""
    made = {
        "answer": _answer(answer) + (soft(STOPPED) if study.stop else ""),
        "intervals": _intervals(answer),
        "curves": _curves(study, answer),
        "costs": _costs(study, answer),
        "variants": "".join(_variant(i, v) for i, v in enumerate(_ordered(study))),
        "tuning": tuning_table(study),
        "secondary": _secondary(answer),
        "missing": _missing(study),
        "repeat": _repeat(study),
    }
    better = f"{study.metric}, {'lower' if study.lower_is_better else 'higher'} is better"
    lead = f"{tables.question(study)}; measured by {better}."
    sections = {name: (TITLES[name], inside) for name, inside in made.items()}
    foot = "All figures are in study.json and answer.json beside this page."
    return document(f"Ablation of {study.recipe}", lead, sections, foot, hidden=len(answer.rows))


def _ordered(study: Study) -> list[Variant]:
    """The recipe first, as in the answer."""
    return sorted(study.variants, key=lambda v: not v.is_recipe)


def _answer(answer: Answer) -> str:
    said = []
    for i, row in enumerate(answer.rows):
        if row.effect is not None:
            better = answer.better(row.effect)
            kind = "" if better is None else ' class="better"' if better else ' class="worse"'
            said.append(f"<li{kind}>{i} <code>{safe(row.variant)}</code>: <b>{safe(row.effect.sentence)}</b></li>")
    head = ("variant", answer.metric, "sd of runs", "difference", "95 % by t", "95 % by bootstrap", "p (Holm)")
    rows = []
    for row in answer.rows:
        e = row.effect
        told = ("recipe", "", "", "")
        if e is not None:
            told = (
                tables.difference(e),
                *map(tables.interval, (e.interval, e.bootstrap)),
                tables.p_value(e.p_holm),
            )
        rows.append((row.variant, *tables.level(row), *told))
    costs = ("variant", "parameters", "FLOPs per token", "tokens per second", "peak memory", "steps")
    spent = [(r.variant, *tables.costs(r), f"{r.steps:,}") for r in answer.rows]
    return (
        f'<ol class="said">{"".join(said)}</ol>'
        + table(head, rows, caption="Means over seeds; differences within a seed, variant minus recipe")
        + table(costs, spent, caption="What each variant costs: FLOPs of training, median speed, largest peak")
        + soft(tables.method(answer))
        + soft(tables.pairing(answer))
        + soft(
            "Each interval is of its variant alone; one that leaves out zero may still not pass the correction over all variants."
        )
    )


def _intervals(answer: Answer) -> str:
    if not any(row.effect is not None and row.effect.seeds for row in answer.rows):
        return ""
    rows = []
    for row in answer.rows:
        if (e := row.effect) is not None:
            each = ", ".join(f"{seed}: {d:+.4g}" for seed, d in zip(e.seeds, e.differences))
            rows.append((row.variant, str(len(e.seeds)), tables.p_value(e.p), tables.needed(e), each))
    return (
        figure(interval_chart(answer), "interval plot")
        + soft(
            "Small dots: single seeds. Thick line: 95 % by paired t; thin line: by bootstrap (five seeds or more), which is too narrow of few seeds. "
            "Grey: what these seeds would have missed in more than one of five studies."
        )
        + folded(
            "As a table", table(("variant", "pairs", "p, uncorrected", "seeds to tell it", "difference of each seed"), rows)
        )
    )


def _curves(study: Study, answer: Answer) -> str:
    names, over, apart = [r.variant for r in answer.rows], curves(study, answer), differences(study, answer)
    made = [legend(names)]
    if over:
        title = f"{study.metric} over the steps"
        made += [
            figure(curve_chart(over, names, title, study.metric), title),
            soft("Mean over seeds; the band reaches from the lowest seed to the highest."),
        ]
    if apart:
        title = f"{study.metric} minus the recipe's, over the steps"
        drawn = curve_chart(apart, names, title, f"{study.metric} minus the recipe's", zero=True)
        made += [
            figure(drawn, title),
            soft("Mean difference within a seed, with its 95 % interval by paired t at each step by itself."),
        ]
    if over:
        rows = [
            (names[o.place], f"{s:,}", f"{m:.5g}", f"{lo:.5g}", f"{hi:.5g}")
            for o in over
            for s, m, lo, hi in zip(o.steps, o.middle, o.low, o.high)
        ]
        made.append(folded("As a table", table(("variant", "step", "mean", "lowest", "highest"), rows)))
    return "".join(made) if over or apart else ""


def _costs(study: Study, answer: Answer) -> str:
    names, shown = [r.variant for r in answer.rows], fronts(study, answer)
    if not shown:
        return ""
    apart = [f for f in shown if not f.equal]
    pictures = "".join(figure(front_chart(f, names, study.metric), f"{study.metric} over {f.cost}") for f in apart)
    drawn = f'<div class="figures">{pictures}</div>' + soft(
        "Filled: on the front, so that no other variant is better and costs no more. Lines: from the best seed to the worst."
    )
    drawn += soft("The front is of the means. Whether two of its points differ is said above.")
    same = [f.cost for f in shown if f.equal]
    rows = [
        (names[p.place], f.cost, amount(p.cost, f.unit), f"{p.value:.5g}", "yes" if p.front else "")
        for f in shown
        for p in f.points
    ]
    return (
        (drawn if apart else "")
        + (soft(f"Equal for all, to {EQUAL:.0%}, and so not drawn: {', '.join(same)}.") if same else "")
        + folded("As a table", table(("variant", "cost", "at", study.metric, "on the front"), rows, figures=2))
    )


def _variant(place: int, variant: Variant) -> str:
    lines = list(variant.difference) or (
        ["the recipe as it is"] if variant.is_recipe else [f"differs by {o}" for o in variant.overrides]
    )
    lines = [line for line in lines if line.partition(":")[0] not in variant.solved]  # which say it with the reason
    lines += [f"{option}: {old} -> {new}, to match the budget" for option, (old, new) in variant.solved.items()]
    lines += [f"{option} = {value}, by tuning" for option, value in (variant.tuned or {}).items()]
    lines.append(
        f"{variant.parameters:,} parameters, {amount(variant.flops_per_token)} FLOPs per token, {variant.steps:,} steps"
    )
    if variant.stopped_after is not None:
        lines.append(f"stopped after {seeds(variant.stopped_after)}: behind beyond doubt")
    return f"<h3>{place} <code>{safe(variant.name)}</code></h3>{items(lines)}"


def tuning_table(study: Study) -> str:
    """What each variant tried, and which was its best; empty where nothing was tuned."""
    rows, edges = [], []
    for variant in _ordered(study):
        for trial in tables.trials(study, variant.name):
            said = ", ".join(f"{k} = {v}" for k, v in trial.run.options.items())
            value = trial.run.error or "failed" if trial.value is None else f"{trial.value:.4f}"
            rows.append((variant.name, said, value, f"best{', at the edge' if trial.edge else ''}" if trial.best else ""))
            edges += [
                f"{variant.name}: the best {option} is the least or the largest that was tried; try further"
                for option in trial.edge
            ]
    if not rows:
        return ""
    seed = (study.tune or {}).get("seed")
    return (
        soft(f"Short runs with seed {seed}, which is none of those reported; as many for each of these.")
        + table(("variant", "options", study.metric, ""), rows, figures=2)
        + (items(edges) if edges else "")
    )


def _secondary(answer: Answer) -> str:
    if not answer.secondary:
        return ""
    rows = [(e.variant, e.metric, e.sentence, tables.interval(e.interval), tables.p_value(e.p_holm)) for e in answer.secondary]
    return table(("variant", "figure", "beside the recipe", "95 % by t", "p (Holm)"), rows, figures=3) + soft(
        "Holm's correction here is over all further figures of all variants together."
    )


def _missing(study: Study) -> str:
    refused = [f"{' '.join(r.overrides)}: {r.reason}" for r in study.refused]
    failed = [
        f"{r.variant}, seed {r.seed}: {r.error or 'failed'} ({r.folder})"
        for v in _ordered(study)
        for r in reported(study, v.name)
        if r.state != DONE
    ]
    made = f"<h3>Refused before anything ran</h3>{items(refused)}" if refused else ""
    return made + (f"<h3>Failed runs</h3>{items(failed)}" if failed else "")


def _repeat(study: Study) -> str:
    command = shlex.join(["components", "ablate", *study.words])
    return f"<pre tabindex='0'><code>{safe(command)}</code></pre>" + soft(
        f"Seeds: {', '.join(map(str, study.seeds))}. The same command goes on with a study that was stopped, and repeats no run that is there."
    )
