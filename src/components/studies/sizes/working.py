"""The work of a study over sizes: train the ladder, fit the law, write what it says of the next size, and only then train that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from components.core.files import make_folder, write_json
from components.runs.preparing import runs_of
from components.runs.run_folder import STUDIES
from components.studies import pool, telling
from components.studies.asked import Asked
from components.studies.executing import Planned
from components.studies.hours import Hours
from components.studies.planning import Plan
from components.studies.sizes import page
from components.studies.sizes.backtest import Backtest, backtest
from components.studies.sizes.ladder import base_of, ladder, next_rung
from components.studies.sizes.law import COMPUTE, Law, Point, fit
from components.studies.sizes.prediction import Prediction, compared, foretell, points_of, predict
from components.studies.sizes.question import Question
from components.studies.study import DONE, REPORTED, Speed, Study, StudyRun, Variant, write_speeds
from components.studies.work import Work

LAW = "law.json"


@dataclass(frozen=True)
class Scaling:
    """A study over sizes that has ended.

    Args:
        folder: where it lies.
        study: the ladder, and the next size if it was trained.
        points: what the law was fitted to.
        law: in the form that the ladder can tell; None of a plan that was only printed.
        by_compute: over FLOPs, by the sizes that no cheaper one beats; the same as ``law`` where tokens and size move together.
        prediction: of the next size, with what was found.
        backtest: what the others say of the dearest size; None where they are too few for a law.
        hours: how long a plan that was only printed will take; else None.
        beyond: of such a plan the size that is predicted.
    """

    folder: Path
    study: Study
    points: Sequence[Point] = ()
    law: Law | None = None
    by_compute: Law | None = None
    prediction: Prediction | None = None
    backtest: Backtest | None = None
    hours: Hours | None = None
    beyond: tuple[Variant, ...] = ()

    def __str__(self) -> str:
        return "" if self.law is None else page.terminal(self.told)

    @property
    def told(self) -> page.Told:
        assert self.law is not None
        assert self.prediction is not None
        return page.Told(self.study, self.points, self.law, self.by_compute, self.prediction, self.backtest)


def run(
    asked: Question, cwd: Path, jobs: int | None, launcher: str | None, *, folder: Path | None = None, dry: bool, quiet: bool
) -> Scaling:
    """Raises UserError where the recipe cannot grow to these sizes, or too few of them could be trained."""
    base = base_of(asked, cwd)
    rungs = ladder(asked, base, cwd)
    beyond = next_rung(asked, base, max(v.parameters for v in rungs.variants), cwd)
    own = Asked(asked.words, seeds=asked.seeds, tune=asked.tune, tune_steps=asked.tune_steps, metric=asked.metric)
    work = Work(own, cwd, jobs, launcher, quiet=quiet)
    folder = folder or runs_of(base.recipe.config) / STUDIES / asked.name(Path(base.recipe.recipe).stem)
    folder = folder.absolute()
    work.place = replace(work.place, study=folder)
    work.say("\n".join(telling.plan_lines(rungs)))
    work.say(
        "\n".join(["", "then, after the prediction:" if asked.next else "predicted, not trained:", *telling.plan_lines(beyond)])
    )
    if dry:
        hours = work.hours(rungs)
        return Scaling(folder, _study(asked, work, rungs, rungs.variants, []), hours=hours, beyond=beyond.variants)
    asked.write(make_folder(folder))
    work.say(f"study: {folder}")
    runs, speeds, variants = work.trained(rungs)
    points = points_of(_losses(asked, runs, variants), base.tokens_per_step)
    law = fit(points)
    by_compute = law if law.form == COMPUTE else _by_compute(points)
    begun = any(pool.is_done(work.place.folder(r)) for r in (*work.tuning_runs(beyond), *_reported(beyond)))
    prediction = predict(law, beyond.variants[0], base.tokens_per_step, asked.seeds, before=not begun)
    prediction = foretell(folder, prediction)
    work.say(f"predicted: {prediction.loss:.4f} for {prediction.size}, written before its run")
    if asked.next is not None:
        more, faster, last = work.trained(beyond)
        runs, speeds, variants = [*runs, *more], [*speeds, *faster], [*variants, *last]
        prediction = compared(prediction, [loss for _, loss in _losses(asked, more, last)])
    held = _study(asked, work, rungs, variants, runs)
    made = Scaling(folder, held, points, law, by_compute, prediction, backtest(points))
    _write(made, speeds)
    return made


def _reported(planned: Plan) -> list[Planned]:
    return [Planned(n, s, b.overrides) for n, b in planned.built.items() for s in planned.seeds]


def _losses(asked: Question, runs: Sequence[StudyRun], variants: Sequence[Variant]) -> list[tuple[Variant, float]]:
    named = {v.name: v for v in variants}
    done = [r for r in runs if r.role == REPORTED and r.state == DONE]
    return [(named[r.variant], loss) for r in done if (loss := r.figures.get(asked.metric)) is not None]


def _by_compute(points: Sequence[Point]) -> Law | None:
    """The law of the front: of the runs that none of fewer FLOPs beats. None where that is fewer than three costs."""
    front = [p for p in points if not any(q.flops < p.flops and q.loss <= p.loss for q in points)]
    return fit(front, COMPUTE) if len({p.flops for p in front}) >= 3 else None


def _study(asked: Question, work: Work, planned: Plan, variants: Sequence[Variant], runs: Sequence[StudyRun]) -> Study:
    return replace(work.study(planned, variants, runs), words=asked.typed, design="sizes")


def _write(made: Scaling, speeds: Sequence[Speed]) -> None:
    assert made.law is not None
    assert made.prediction is not None
    made.study.write(made.folder)
    write_speeds(made.folder, speeds)
    by_compute = None if made.by_compute is None else made.by_compute.data()
    told = {"law": made.law.data(), "by_compute": by_compute, "prediction": made.prediction.data()}
    told["backtest"] = {**(made.backtest.data() if made.backtest else {}), "sentence": made.told.tested}
    write_json(made.folder / LAW, told)
    page.write(made.folder, made.told)
