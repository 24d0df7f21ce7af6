"""The work of a study: plan it, train what is missing, tune, stop, and write what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from components.compose.multirun import launching
from components.core import terminal, threads
from components.core.config_types import Config
from components.core.errors import UserError, nearest
from components.core.files import make_folder
from components.runs.metrics_file import TRAIN_LOSS, VAL_LOSS
from components.runs.preparing import runs_of
from components.runs.run_folder import STUDIES
from components.studies import pool, report, sequential, telling, tuning
from components.studies.answer import Answer, answer
from components.studies.asked import DOUBTLESS, Asked
from components.studies.design import sorted_words
from components.studies.evaluated import evaluated, with_figures
from components.studies.executing import Place, Planned, collected, execute, measured, stoppable
from components.studies.hours import Hours, hours_of
from components.studies.metrics import apart, metrics_of
from components.studies.planning import Plan, plan
from components.studies.study import DONE, REPORTED, TUNING, Speed, Study, StudyRun, Variant, write_speeds
from components.studies.subjects import Built, build

CERTAIN = {VAL_LOSS, TRAIN_LOSS}  # figures of every run


@dataclass(frozen=True)
class Ablation:
    """A study that has ended: its ``folder``, the ``study``, its ``speeds``, and the ``answer``; of a plan that was only printed None, and its ``hours``."""

    folder: Path
    study: Study
    speeds: Sequence[Speed]
    answer: Answer | None
    hours: Hours | None = None

    def __str__(self) -> str:
        return "" if self.answer is None else report.terminal(self.study, self.answer)


class Work:
    """One call: what was asked and where it prints. UserError: a launcher that is not there."""

    def __init__(self, asked: Asked, cwd: Path, jobs: int | None, launcher: str | None, *, quiet: bool) -> None:
        found = launching(launcher, jobs, cwd)  # what is not there is refused before anything is measured or trained
        self.asked, self.cwd, self.jobs, self.quiet = asked, cwd, found.here, quiet
        self.metrics = metrics_of(asked.metrics, asked.words, cwd)
        self.place = Place(cwd / "runs" / STUDIES / "unnamed", cwd, found, self.say, quiet)
        if jobs is None and found.here > 1:
            self.say(f"launcher={launcher}: {found.here} runs at a time, {threads.shown(1)} each (jobs=N takes another number)")

    def say(self, text: str) -> None:
        if not self.quiet:
            terminal.tell(text)

    def run(self, folder: Path | None, *, dry: bool) -> Ablation:
        base = build(sorted_words(apart(self.asked.words)[0], self.cwd).fixed, self.cwd)
        folder = folder or runs_of(base.config).absolute() / STUDIES / self.asked.name(Path(base.recipe).stem)
        self.place = replace(self.place, study=folder.absolute())
        planned = plan(self.asked, self.cwd, self._seconds)
        self.say("\n".join([*telling.plan_lines(planned), f"  {self.metrics}"]))
        if dry:
            hours = self.hours(planned)
            return Ablation(folder, self.study(planned, planned.variants, []), [], None, hours)
        self.asked.write(make_folder(folder))
        self.say(f"study: {folder}")
        made, speeds, variants = self.trained(planned)
        study = self.study(planned, variants, made)
        study.write(folder)
        write_speeds(folder, speeds)
        found = answer(study, speeds)
        report.write(folder, study, speeds, found)
        self._track(base.config, study)
        return Ablation(folder, study, speeds, found)

    def _track(self, config: Config, study: Study) -> None:
        """Show the report where the runs are shown."""
        node = config.get("logger") or {}
        if node.get("name") != "wandb":
            return
        from components.training.wandb_export import reported

        reported(node, self.place.study, telling.summary(study), self.say)

    def _seconds(self, built: Mapping[str, Built]) -> dict[str, float]:
        self.say("20 steps of each variant, to measure their time")
        return {name: pool.seconds_per_step(f) for name, f in measured(self._first(built), self.place).items()}

    def _first(self, built: Mapping[str, Built]) -> list[Planned]:
        return [Planned(name, int(b.config["seed"]), b.overrides) for name, b in built.items()]

    def hours(self, planned: Plan) -> Hours:
        """How long it will take, which is told too."""
        folders = measured(self._first(planned.built), self.place)
        steps = {name: (pool.seconds_per_step(f), pool.start_up(f)) for name, f in folders.items()}
        wanted = [Planned(n, s, b.overrides) for n, b in planned.built.items() for s in planned.seeds]
        left = {n: sum(r.variant == n and not pool.is_done(self.place.folder(r)) for r in wanted) for n in planned.built}
        tried = len(tuning.settings(planned.tune, planned.recipe.config)) if planned.tune else 0
        found = hours_of(planned, left, steps, tried, self.jobs)
        self.say("\n".join(telling.hours_lines(found)))
        return found

    def trained(self, planned: Plan) -> tuple[list[StudyRun], list[Speed], list[Variant]]:
        """All runs, the tuning first."""
        self._look_for_figures(planned)
        tried = self._collect(self.tuning_runs(planned))
        variants, chosen = [], {}
        for variant in planned.variants:
            own = [run for run, _ in tried if run.variant == variant.name]
            best = tuning.best(own, self.metrics.names[0], lower=self.metrics.lower)
            chosen[variant.name] = best or {}
            variants.append(replace(variant, tuned=best))
        made: list[tuple[StudyRun, Speed]] = []
        stopped: dict[str, int] = {}
        for seeds in self._rounds(planned):
            wanted = [
                Planned(n, s, (*b.overrides, *tuning.words_of(chosen[n])), REPORTED, chosen[n])
                for s in seeds
                for n, b in planned.built.items()
                if n not in stopped
            ]
            made += self._collect(wanted)
            stopped = self._stopped([run for run, _ in made], planned)
        variants = [replace(v, stopped_after=stopped.get(v.name)) for v in variants]
        runs = [run for run, _ in (*tried, *made)]
        return runs, [speed for _, speed in made], variants

    def tuning_runs(self, planned: Plan) -> list[Planned]:
        tune = planned.tune
        if tune is None:
            return []
        return [
            Planned(name, tune.seed, (*built.overrides, _short(tune, built), *tuning.words_of(options)), TUNING, options)
            for name, built in planned.built.items()
            for options in tuning.settings(tune, built.config)
        ]

    def _collect(self, wanted: list[Planned]) -> list[tuple[StudyRun, Speed]]:
        found = execute(wanted, self.place) if wanted else []
        if wanted and self.metrics.evaluations:
            self.say(f"evaluations: {', '.join(self.metrics.evaluations)}, of each run that they were not asked of")
        with stoppable():
            done = [
                (with_figures(made, folder, self.place.study, self.metrics), speed)
                for run, folder in found
                for made, speed in [collected(run, folder, self.metrics.of_runs)]
            ]
        for run, _ in done:
            if run.state != DONE:
                self.say(f"failed: {run.variant}, seed {run.seed}: {run.error}")
        return done

    def _rounds(self, planned: Plan) -> list[tuple[int, ...]]:
        """All seeds at once, or one by one where a look at what is there may stop a variant."""
        if self.asked.stop != DOUBTLESS:
            return [planned.seeds]
        first, more = planned.seeds[: sequential.FIRST], planned.seeds[sequential.FIRST :]
        return [first, *((s,) for s in more)]

    def _stopped(self, runs: list[StudyRun], planned: Plan) -> dict[str, int]:
        if self.asked.stop != DOUBTLESS:
            return {}
        metric, sign = self.metrics.names[0], 1.0 if self.metrics.lower else -1.0
        values = {(r.variant, r.seed): r.figures.get(metric) for r in runs if r.role == REPORTED}
        first, *others = [v.name for v in planned.variants]
        found = {}
        for name in others:
            pairs = [(values.get((name, s)), values.get((first, s))) for s in planned.seeds]
            differences = [sign * (a - b) for a, b in pairs if a is not None and b is not None]
            after = sequential.behind(differences, len(planned.seeds), len(others))
            if after is not None:
                found[name] = after
        return found

    def _look_for_figures(self, planned: Plan) -> None:
        """Train the first run before all others, unless the study asks for what every run has.

        Raises:
            UserError: that run has no such figure, or an evaluation cannot ask it.
        """
        if CERTAIN.issuperset(self.metrics.names):
            return
        name, built = next(iter(planned.built.items()))
        first = [*self.tuning_runs(planned), Planned(name, planned.seeds[0], built.overrides)][:1]
        if self.metrics.evaluations:
            for _, folder in execute(first, self.place):
                with stoppable():
                    _ = pool.is_done(folder) and evaluated(folder, self.place.study, self.metrics)
        (run, _), *_ = self._collect(first)
        for metric in self.metrics.names:
            if run.figures and metric not in run.figures:
                what = f"the first run has no figure {metric!r}"
                raise UserError("metric", what, nearest(metric, run.figures, called="figures"))

    def study(self, planned: Plan, variants: Sequence[Variant], runs: Sequence[StudyRun]) -> Study:
        match, (metric, *others) = planned.match, self.metrics.names
        return Study(
            planned.recipe.recipe,
            self.asked.typed,
            tuple(variants),
            tuple(runs),
            metric,
            tuple(others),
            self.metrics.lower,
            self.asked.design,
            None if match is None else {"budget": match.budget, "free": match.free, "tolerance": match.tolerance},
            None if planned.tune is None else planned.tune.data(),
            planned.seeds,
            self.asked.stop,
            planned.refused,
        )


def _short(tune: tuning.Tune, built: Built) -> str:
    return f"trainer.max_steps={tune.steps_of(built.steps)}"
