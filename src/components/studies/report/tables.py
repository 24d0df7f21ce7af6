"""The cells of the tables, as texts: one place for the terminal, the page and report.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.studies.answer import Answer, Row, figure
from components.studies.effect import Effect
from components.studies.sentences import amount, rounded, seeds, with_error
from components.studies.statistics import ALPHA, MOST_SEEDS, Interval
from components.studies.study import TUNING, Study, StudyRun

NONE = "–"


@dataclass(frozen=True)
class Trial:
    """A tuning run. ``best``: of its variant; ``edge``: the options of a best that are the least or the largest that was tried."""

    run: StudyRun
    value: float | None
    best: bool
    edge: tuple[str, ...] = ()


def p_value(p: float | None) -> str:
    return NONE if p is None else "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def interval(held: Interval | None) -> str:
    if held is None:
        return NONE
    digits = rounded((held[1] - held[0]) / 2)
    places = len(digits.partition(".")[2])
    return f"{held[0]:+.{places}f} to {held[1]:+.{places}f}".replace("-", "\u2212")


def difference(effect: Effect) -> str:
    """The mean difference with its sign, and half of the interval by t."""
    if effect.mean is None:
        return NONE
    sign = "\u2212" if effect.mean < 0 else "+" if effect.mean else ""
    if effect.interval is None:
        return f"{sign}{rounded(effect.mean)}"
    return f"{sign}{with_error(abs(effect.mean), (effect.interval[1] - effect.interval[0]) / 2)}"


def level(row: Row) -> tuple[str, str]:
    """The mean of the figure, and the standard deviation of single runs."""
    return NONE if row.mean is None else f"{row.mean:.4f}", NONE if row.sd is None else rounded(row.sd)


def costs(row: Row) -> tuple[str, str, str, str]:
    """Parameters, training FLOPs per token, tokens a second, peak memory."""
    speed = NONE if row.tokens_per_second is None else f"{row.tokens_per_second:,.0f}"
    peak = NONE if row.peak_bytes is None else amount(row.peak_bytes, "B")
    return amount(row.parameters), amount(row.flops_per_token), speed, peak


def pairing(answer: Answer) -> str:
    """What pairing bought."""
    paired, single = answer.sd_differences, answer.sd_single
    if paired is None or single is None:
        return "What pairing bought shows with two seeds or more."
    if paired == 0:
        return f"Single runs vary by {rounded(single)} (standard deviation); the differences within a seed do not vary at all."
    ratio = 2 * (single / paired) ** 2  # of variances of a difference: without common seeds both sides' variances add up
    much = f"{ratio:,.0f}" if ratio >= 9.5 else f"{ratio:.1f}"
    gain = (
        f"without common seeds the same certainty would take about {much} times as many runs."
        if ratio > 1.05
        else "pairing bought nothing here."
    )
    return f"Differences within a seed vary by {rounded(paired)} (standard deviation), single runs by {rounded(single)}: {gain}"


def method(answer: Answer) -> str:
    """How the verdicts were reached, in a sentence or two."""
    if not answer.tests:
        return "Nothing could be tested: a test needs differences in two seeds or more that are not all equal."
    many = f", Holm's correction over {answer.tests} variants" if answer.tests > 1 else ""
    whole = f"{100 * ALPHA:g} %"
    strict = f"{whole} / {answer.tests}" if answer.tests > 1 else whole
    return (
        f"Paired t-test of the differences within a seed{many}; lower or higher is said at {whole}. "
        f'"Would have been seen" means: found with a chance of 80 % at {strict}, two-sided.'
    )


def question(study: Study) -> str:
    """What was compared with what, under which conditions."""
    n = len(study.variants) - 1
    said = [
        f"{n} variant{'' if n == 1 else 's'} of the recipe {study.recipe}",
        seeds(len(study.seeds)),
        f"design: {study.design}",
    ]
    if study.match:
        said.append(f"equal {study.match['budget']}, by {study.match['free']}")
    if study.tune:
        said.append(f"each tuned by {', '.join(options(study))}")
    if study.stop:
        said.append("a variant that was behind beyond doubt got no more seeds")
    return "; ".join(said)


def options(study: Study) -> list[str]:
    """The options that were tuned."""
    tried = (study.tune or {}).get("options")
    return list(tried) if isinstance(tried, Mapping) else []


def trials(study: Study, variant: str) -> list[Trial]:
    """The tuning runs of a variant in the order of their options, the best marked, and where it lies at the edge."""
    runs = [r for r in study.runs if r.variant == variant and r.role == TUNING]
    known = [(value, r) for r in runs if (value := figure(r, study.metric)) is not None]
    best = (min if study.lower_is_better else max)(known, key=lambda pair: pair[0])[1] if known else None
    return [Trial(r, figure(r, study.metric), r is best, _edge(runs, r) if r is best else ()) for r in runs]


def _edge(runs: Sequence[StudyRun], best: StudyRun) -> tuple[str, ...]:
    found = []
    for option, value in best.options.items():
        tried = {v for r in runs if isinstance(v := r.options.get(option), (int, float)) and not isinstance(v, bool)}
        if len(tried) > 1 and value in (min(tried), max(tried)):
            found.append(option)
    return tuple(found)


def needed(effect: Effect) -> str:
    """How many seeds the difference that was seen takes."""
    if effect.detectable is None:
        return NONE
    return f"> {MOST_SEEDS:,}" if effect.seeds_needed is None else f"{effect.seeds_needed:,}"
