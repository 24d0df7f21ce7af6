"""``components ablate``: variants of a recipe trained with the same seeds and budgets, and an answer that says how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from components.core import terminal
from components.core.errors import UserError, nearest
from components.core.files import make_folder
from components.runs.metrics_file import OF_LOSS
from components.runs.preparing import runs_of
from components.studies import pool, report, sequential, statistics, telling, tuning
from components.studies.answer import Answer, answer
from components.studies.asked import DOUBTLESS, Asked, changed, find_study, read_asked
from components.studies.executing import Place, Planned, collected, execute, measured
from components.studies.planning import Plan, plan
from components.studies.study import DONE, REPORTED, TUNING, Speed, Study, StudyRun, Variant, write_speeds
from components.studies.subjects import Built

SMALLER = ("loss", "perplexity", "bits_per_byte", "error", "mae", "mse", "rmse", "steps", "faults")


@dataclass(frozen=True)
class Ablation:
    """A study that has ended: its ``folder``, the ``study``, its ``speeds``, and the ``answer``; None of a plan that was only printed."""

    folder: Path
    study: Study
    speeds: Sequence[Speed]
    answer: Answer | None

    def __str__(self) -> str:
        return "" if self.answer is None else report.terminal(self.study, self.answer)


def ablate(
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    design: str | None = None,
    match: str | None = None,
    free: str | None = None,
    tune: str | None = None,
    tune_steps: int | None = None,
    stop: str | None = None,
    metric: str | None = None,
    jobs: int = 1,
    launcher: str | None = None,
    study: str | Path | None = None,
    dry: bool = False,
    quiet: bool = False,
) -> Ablation:
    """Compare a recipe with variants of it, and say how sure the differences are. The recipe itself is always one of them.

    Every run is a process of its own, found again by its config: a study that was stopped goes on, and runs that another study has made count.

    Args:
        recipe: its name, or a YAML file's path.
        overrides: as on the command line. One with several values, ``model/norm=rms,layer``, says what is compared, all others hold for every run.
        seeds: runs of each variant: the recipe's seed and those that follow. Null: 3.
        design: ``one`` (each choice against the recipe; what null means), ``grid`` (all combinations) or ``cover`` (every two choices together once).
        match: make ``parameters``, ``flops`` (of training, per token) or ``time`` equal to the recipe's, to 0.5 %.
        free: the integer option that is solved for it; null: the width of the feed-forwards, and for time the number of steps.
        tune: options that every variant tunes by itself: ``optimizer.lr:3`` (factors of its own value) or ``optimizer.lr:[1e-3,3e-3]``.
        tune_steps: of a tuning run; null: a quarter of the recipe's.
        stop: ``doubtless``: a variant that is behind beyond doubt gets no more seeds (5 % error over all variants and looks).
        metric: the figure that decides, and further ones behind commas. Null: val_loss.
        jobs: processes at a time; of several each has one thread.
        launcher: one of Hydra's: joblib, submitit_slurm, ...
        study: a study that goes on, by its folder or name: then only ``seeds``, ``jobs``, ``launcher`` and ``dry`` may be given.
        dry: print the plan and its hours, measured on 20 steps of each variant, and train nothing.
        quiet: print nothing.

    Raises:
        UserError: there is nothing to compare, or the recipe cannot be trained.
    """
    statistics.ready()
    cwd = Path.cwd()
    question = {
        "design": design,
        "match": match,
        "free": free,
        "tune": tune,
        "tune_steps": tune_steps,
        "stop": stop,
        "metric": metric,
    }
    if study is not None:
        if overrides or recipe:
            raise UserError("study", "has its own recipe and overrides", "leave them out")
        folder = find_study(str(study), Path("runs") / "studies")
        asked = changed(read_asked(folder), seeds=seeds, **question)
    else:
        words = (*((f"recipe={recipe}",) if recipe else ()), *overrides)
        asked = Asked(words, **{k: v for k, v in {"seeds": seeds, **question}.items() if v is not None}).check()
        folder = None
    return _Work(asked, cwd, jobs, launcher, quiet=quiet).run(folder, dry=dry)


class _Work:
    """One call: what was asked and where it prints."""

    def __init__(self, asked: Asked, cwd: Path, jobs: int, launcher: str | None, *, quiet: bool) -> None:
        self.asked, self.cwd, self.jobs, self.launcher, self.quiet = asked, cwd, jobs, launcher, quiet
        self.place = Place(cwd / "runs" / "studies" / "unnamed", cwd, jobs, launcher, self.say)

    def say(self, text: str) -> None:
        if not self.quiet:
            terminal.tell(text)

    def run(self, folder: Path | None, *, dry: bool) -> Ablation:
        from components.studies.design import sorted_words
        from components.studies.subjects import build

        base = build(sorted_words(self.asked.words, self.cwd).fixed, self.cwd)
        folder = folder or runs_of(base.config).absolute() / "studies" / self.asked.name(Path(base.recipe).stem)
        self.place = replace(self.place, study=folder.absolute())
        planned = plan(self.asked, self.cwd, self._seconds)
        self.say("\n".join(telling.plan_lines(planned)))
        if dry:
            self.say("\n".join(self._hours(planned)))
            return Ablation(folder, self._study(planned, planned.variants, []), [], None)
        self.asked.write(make_folder(folder))
        self.say(f"study: {folder}")
        made, speeds, variants = self._trained(planned)
        study = self._study(planned, variants, made)
        study.write(folder)
        write_speeds(folder, speeds)
        found = answer(study, speeds)
        report.write(folder, study, speeds, found)
        return Ablation(folder, study, speeds, found)

    def _seconds(self, built: Mapping[str, Built]) -> dict[str, float]:
        self.say("20 steps of each variant, to measure their time")
        return {name: pool.seconds_per_step(f) for name, f in measured(self._first(built), self.place).items()}

    def _first(self, built: Mapping[str, Built]) -> list[Planned]:
        return [Planned(name, int(b.config["seed"]), b.overrides) for name, b in built.items()]

    def _hours(self, planned: Plan) -> list[str]:
        folders = measured(self._first(planned.built), self.place)
        steps = {name: (pool.seconds_per_step(f), pool.start_up(f)) for name, f in folders.items()}
        wanted = [Planned(n, s, b.overrides) for n, b in planned.built.items() for s in planned.seeds]
        left = {n: sum(r.variant == n and not pool.is_done(self.place.folder(r)) for r in wanted) for n in planned.built}
        tried = len(tuning.settings(planned.tune, planned.recipe.config)) if planned.tune else 0
        return telling.hours_lines(planned, left, steps, tried, self.jobs)

    def _trained(self, planned: Plan) -> tuple[list[StudyRun], list[Speed], list[Variant]]:
        """All runs, the tuning first."""
        tried = self._collect(self._tuning(planned))
        variants, chosen = [], {}
        for variant in planned.variants:
            own = [run for run, _ in tried if run.variant == variant.name]
            best = tuning.best(own, self.asked.metrics[0], lower=lower(self.asked.metrics[0]))
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
        self._known_metric(runs)
        return runs, [speed for _, speed in made], variants

    def _tuning(self, planned: Plan) -> list[Planned]:
        tune = planned.tune
        if tune is None:
            return []
        short = (f"trainer.max_steps={tune.steps}",)
        return [
            Planned(name, tune.seed, (*built.overrides, *short, *tuning.words_of(options)), TUNING, options)
            for name, built in planned.built.items()
            for options in tuning.settings(tune, built.config)
        ]

    def _collect(self, wanted: list[Planned]) -> list[tuple[StudyRun, Speed]]:
        done = [collected(run, folder, self.asked.metrics) for run, folder in execute(wanted, self.place)] if wanted else []
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
        metric = self.asked.metrics[0]
        sign = 1.0 if lower(metric) else -1.0
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

    def _known_metric(self, runs: list[StudyRun]) -> None:
        for metric in self.asked.metrics:
            known = {n: None for r in runs for n in r.figures}
            if known and metric not in known:
                raise UserError("metric", f"no run has a figure {metric!r}", nearest(metric, known, called="figures"))

    def _study(self, planned: Plan, variants: Sequence[Variant], runs: Sequence[StudyRun]) -> Study:
        match, (metric, *others) = planned.match, self.asked.metrics
        return Study(
            planned.recipe.recipe,
            self.asked.typed,
            tuple(variants),
            tuple(runs),
            metric,
            tuple(others),
            lower(metric),
            self.asked.design,
            None if match is None else {"budget": match.budget, "free": match.free, "tolerance": match.tolerance},
            None if planned.tune is None else planned.tune.data(),
            planned.seeds,
            self.asked.stop,
            planned.refused,
        )


def lower(metric: str) -> bool:
    """Whether less of a figure is better, by its name: of a loss or an error it is, of all others more is."""
    return metric in OF_LOSS or metric.endswith(SMALLER)
