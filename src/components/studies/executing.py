"""Runs of a study through the ordinary launchers: those that are not there yet, each a process of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from components.compose.composed import compose
from components.compose.grammar import in_quotes
from components.compose.jobs import stop_jobs
from components.compose.multirun import Launching, launching, run_jobs
from components.core import threads
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.files import make_folder
from components.studies import pool
from components.studies.study import DONE, FAILED, REPORTED, Speed, StudyRun
from components.training.signals import Preempted


@dataclass(frozen=True)
class Planned:
    """A run that is wanted.

    Args:
        variant: its name.
        seed: of the run.
        overrides: all of them but the seed, the recipe's name among them.
        role: ``reported`` or ``tuning``.
        options: what was tuned for it.
    """

    variant: str
    seed: int
    overrides: tuple[str, ...]
    role: str = REPORTED
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.overrides, f"seed={self.seed}")


@dataclass(frozen=True)
class Place:
    """Where and how runs are made.

    Args:
        study: the study's folder; runs lie beside it.
        cwd: what relative paths are relative to.
        launching: by which launcher, and how many at a time.
        say: prints a line.
        quiet: launchers print nothing either.
    """

    study: Path
    cwd: Path
    launching: Launching
    say: Callable[[str], None]
    quiet: bool = False
    _known: dict[tuple[str, ...], Config] = field(default_factory=dict, compare=False)

    @property
    def pool(self) -> Path:
        return self.study.parent / "runs"

    def folder(self, run: Planned) -> Path:
        return self.pool / pool.key(self.config(run))

    def config(self, run: Planned) -> Config:
        if run.words not in self._known:
            self._known[run.words] = compose(None, run.words, cwd=self.cwd).config
        return self._known[run.words]


def execute(runs: Sequence[Planned], place: Place) -> list[tuple[Planned, Path]]:
    """Train those that are not done yet; a failed one stops no other. Returns the folder of each.

    Raises:
        UserError: the launcher does not exist.
    """
    folders = {id(run): place.folder(run) for run in runs}
    wanted = {folders[id(run)]: run for run in reversed(runs)}
    make_folder(place.pool)
    left = [*dict.fromkeys(folders.values())]
    place.say(
        f"{sum(not pool.is_done(f) for f in left)} runs to train, {sum(map(pool.is_done, left))} of {len(left)} are there"
    )
    while left:
        for folder in left:
            pool.wait_for(folder)
        left = [f for f in left if not pool.is_done(f)]
        if left:
            jobs = {f.name: _words(wanted[f], f, place) for f in left}
            with stoppable(), threads.of_each(1 if place.launching.here > 1 else None):
                run_jobs(jobs, place.pool, place.launching.words, cwd=place.cwd, silent=place.quiet)
        # one that a killed study had just begun may have been first in its folder: then ours was refused
        left = [f for f in left if not pool.is_done(f) and pool.wait_for(f)]
    return [(run, folders[id(run)]) for run in runs]


def _words(run: Planned, folder: Path, place: Place) -> list[str]:
    again = pool.begin_again(folder)
    if again is not None:
        return [f"resume={in_quotes(str(folder.absolute()))}"]
    make_folder(folder)
    return [*run.words, *_logged(run, place)]


def _logged(run: Planned, place: Place) -> list[str]:
    """What W&B is told of a run: the study is its group, and its name and tags say variant and seed."""
    if (place.config(run).get("logger") or {}).get("name") != "wandb":
        return []
    said = {word.partition("=")[0] for word in run.overrides}
    tags = [run.variant, f"seed={run.seed}", run.role]
    tuned = "".join(f", {path}={value}" for path, value in run.options.items()) if run.role != REPORTED else ""
    own = {
        "logger.group": in_quotes(place.study.name),
        "logger.run_name": in_quotes(f"{run.variant}, seed {run.seed}{tuned}"),
        "logger.tags": f"[{','.join(map(in_quotes, tags))}]",
    }
    return [f"{key}={value}" for key, value in own.items() if key not in said]


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM asks the runs to save and stop; the study ends with what is there, and goes on when it is asked again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop_jobs()
        raise Preempted

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def collected(run: Planned, folder: Path, metrics: Sequence[str]) -> tuple[StudyRun, Speed]:
    """What came of a run: by its files alone, so that it does not matter who trained it."""
    figures = pool.figures_of(folder)
    error = None if pool.is_done(folder) else pool.error_of(folder)
    if error is None and metrics[0] in figures and figures[metrics[0]] is None:
        error = f"{metrics[0]} is no number"
    made = StudyRun(
        run.variant,
        run.seed,
        run.role,
        dict(run.options),
        f"../runs/{folder.name}",
        DONE if error is None else FAILED,
        error,
        figures if error is None else {},
        pool.curve_of(folder, *metrics) if error is None else {},
    )
    return made, pool.speed_of((run.variant, run.seed), folder)


def measured(runs: Sequence[Planned], place: Place) -> dict[str, Path]:
    """{variant: a run of 20 steps without validation}, for how long a step takes. One after another, as runs of a study share nothing.

    Raises:
        UserError: one of them cannot be trained.
    """
    found = execute([_short(run, place) for run in runs], replace(place, launching=launching(None, 1, place.cwd)))
    for run, folder in found:
        if not pool.is_done(folder):
            raise UserError(run.variant, f"its 20 steps failed ({pool.error_of(folder)})", "leave it out")
    return {run.variant: folder for run, folder in found}


def _short(run: Planned, place: Place) -> Planned:
    task = place.config(run)["task"]
    quiet = [f"task.{n}=0" for n in ("samples", "judged_samples") if n in task]
    steps = ("trainer.max_steps=20", "trainer.max_tokens=null", "trainer.limit_val_batches=0", "trainer.log_every_n_steps=5")
    return Planned(run.variant, run.seed, (*run.overrides, *steps, *quiet, "logger=csv"), run.role)
