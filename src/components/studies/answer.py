"""What a study found: each variant's difference from the recipe, how sure it is, what it costs, and all of it in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median

from components.studies import statistics
from components.studies.effect import CONSTANT, HIGHER, LOWER, ONE_SEED, SAME, UNTOLD, Effect
from components.studies.sentences import of_effect
from components.studies.statistics import ALPHA
from components.studies.study import DONE, REPORTED, Speed, Study, StudyRun, Variant


@dataclass(frozen=True)
class Row:
    """A variant, the recipe among them: the mean of its figure over its seeds, and what it costs.

    Args:
        variant: its name.
        is_recipe: whether the others are compared with it.
        seeds: those with a finite figure.
        mean, sd: of the figure over them.
        parameters, flops_per_token, steps: of the variant; FLOPs are those of training, forwards and backwards.
        flops: of the whole training of one run; None where no run says how many tokens it read.
        seconds, tokens_per_second: the median over runs.
        peak_bytes: the largest over runs.
        failed: {seed: why there is no figure}.
        effect: None of the recipe.
    """

    variant: str
    is_recipe: bool
    seeds: tuple[int, ...]
    mean: float | None
    sd: float | None
    parameters: int
    flops_per_token: float
    steps: int
    flops: float | None
    seconds: float | None
    tokens_per_second: float | None
    peak_bytes: int | None
    failed: Mapping[int, str]
    effect: Effect | None


@dataclass(frozen=True)
class Answer:
    """The table of a study.

    Args:
        metric: the figure that decides.
        lower_is_better: whether less of it is better.
        rows: the recipe first.
        tests: how many tests the correction is over.
        sd_differences, sd_single: root mean squares over the variants: what pairing bought.
        secondary: the differences in further figures; their correction is over all of them together.
    """

    metric: str
    lower_is_better: bool
    rows: tuple[Row, ...]
    tests: int
    sd_differences: float | None
    sd_single: float | None
    secondary: tuple[Effect, ...] = ()

    def as_data(self) -> dict[str, object]:
        """What ``answer.json`` holds."""
        return asdict(self)

    def better(self, effect: Effect) -> bool | None:
        """Whether a difference in the figure that decides is an improvement; None where it cannot be told."""
        return None if effect.verdict not in (LOWER, HIGHER) else (effect.verdict == LOWER) == self.lower_is_better


def answer(study: Study, speeds: Sequence[Speed]) -> Answer:
    """The table of a study, from its runs. It is the same whenever it is computed of the same runs.

    Raises:
        UserError: scipy is not installed.
    """
    recipe = next(v for v in study.variants if v.is_recipe)
    others = [v for v in study.variants if not v.is_recipe]
    effects = _corrected([_effect(study, recipe, v, study.metric) for v in others])
    secondary = _corrected([_effect(study, recipe, v, m) for m in study.secondary for v in others])
    known = {e.variant: e for e in effects}
    rows = [_row(study, v, [s for s in speeds if s.variant == v.name], known.get(v.name)) for v in (recipe, *others)]
    tests = sum(e.p_holm is not None for e in effects)
    paired, single = _together([e.sd for e in effects]), _together([e.sd_single for e in effects])
    return Answer(study.metric, study.lower_is_better, tuple(rows), tests, paired, single, tuple(secondary))


def reported(study: Study, variant: str) -> list[StudyRun]:
    """The runs of a variant that count, by seed: those that tuned it do not."""
    return sorted((r for r in study.runs if r.variant == variant and r.role == REPORTED), key=lambda r: r.seed)


def figure(run: StudyRun, metric: str) -> float | None:
    """A run's figure; None where it failed, or has none that is finite."""
    value = run.figures.get(metric) if run.state == DONE else None
    return float(value) if value is not None and math.isfinite(value) else None


def _why(run: StudyRun, metric: str) -> str:
    if run.state != DONE:
        return run.error or "failed"
    return f"no finite {metric}"


def _effect(study: Study, recipe: Variant, variant: Variant, metric: str) -> Effect:
    ours, theirs = ({r.seed: r for r in reported(study, v.name)} for v in (variant, recipe))
    values: list[tuple[int, float, float]] = []
    lost: dict[int, str] = {}
    for seed, run in ours.items():
        own, base = figure(run, metric), figure(theirs[seed], metric) if seed in theirs else None
        if own is not None and base is not None:
            values.append((seed, own, base))
        elif own is None:
            lost[seed] = _why(run, metric)
        else:
            lost[seed] = f"the recipe: {_why(theirs[seed], metric)}" if seed in theirs else "the recipe has no run of it"
    paired, apart = tuple(s for s, _, _ in values), tuple(own - base for _, own, base in values)
    found = Effect(variant.name, metric, paired, apart, lost, stopped_after=variant.stopped_after)
    if not values:
        return found
    told = statistics.paired(apart)
    spreads = [statistics.spread([v[i] for v in values]) for i in (1, 2)]
    known = replace(found, mean=told.mean, sd=told.sd, sd_single=_together(spreads))
    known = replace(known, interval=told.interval, bootstrap=told.bootstrap, p=told.p)
    if told.p is not None:
        return known
    return replace(known, verdict=ONE_SEED if told.sd is None else CONSTANT if told.mean else SAME)


def _corrected(effects: Sequence[Effect]) -> list[Effect]:
    """With Holm's p over those that can be tested, what they could have seen, and the sentence of each."""
    tested = [e for e in effects if e.p is not None]
    level = ALPHA / max(1, len(tested))
    adjusted = iter(statistics.holm([e.p for e in tested if e.p is not None]))
    done = []
    for e in effects:
        if e.p is not None and e.mean is not None and e.sd:
            p = next(adjusted)
            verdict = UNTOLD if p > ALPHA else LOWER if e.mean < 0 else HIGHER
            seen, needed = statistics.detectable(e.sd, len(e.seeds), level), statistics.seeds_needed(e.mean, e.sd, level)
            e = replace(e, p_holm=p, level=level, verdict=verdict, detectable=seen, seeds_needed=needed)
        done.append(replace(e, sentence=of_effect(e)))
    return done


def _row(study: Study, variant: Variant, speeds: Sequence[Speed], effect: Effect | None) -> Row:
    runs = reported(study, variant.name)
    found = [(r.seed, value) for r in runs if (value := figure(r, study.metric)) is not None]
    values = [v for _, v in found]
    tokens = [t for r in runs if (t := figure(r, "tokens")) is not None]
    return Row(
        variant.name,
        variant.is_recipe,
        tuple(s for s, _ in found),
        fmean(values) if values else None,
        statistics.spread(values),
        variant.parameters,
        variant.flops_per_token,
        variant.steps,
        fmean(tokens) * variant.flops_per_token if tokens else None,
        _median([s.seconds for s in speeds]),
        _median([s.tokens_per_second for s in speeds]),
        max((s.peak_bytes for s in speeds if s.peak_bytes is not None), default=None),
        {r.seed: _why(r, study.metric) for r in runs if figure(r, study.metric) is None},
        effect,
    )


def _median(values: Sequence[float | None]) -> float | None:
    held = [v for v in values if v is not None]
    return median(held) if held else None


def _together(sds: Sequence[float | None]) -> float | None:
    """The root mean square of standard deviations."""
    held = [sd for sd in sds if sd is not None]
    return math.sqrt(fmean(sd * sd for sd in held)) if held else None
