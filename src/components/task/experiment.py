"""One run: a job is planned, trained, and leaves its folder complete however it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from components.errors import UserError
from components.task import ending, ranks, run_folder
from components.task.alike import Alike
from components.task.bar import Bar
from components.task.building import aloud, calm, runs_of, silent
from components.task.checkpoints import Checkpoints
from components.task.loggers import make_loggers
from components.task.metrics_file import MetricsFile
from components.task.planning import Job, Plan, plan
from components.task.preemption import Preempted, Preemption
from components.task.progress import Recorder
from components.task.reading import gone, tells_of_a_dead_reader
from components.task.samples import Samples
from components.task.together import Together
from components.task.trainer import make_trainer
from components.task.watch import Watch

__all__ = ["Job", "Result", "fit"]


@dataclass(frozen=True)
class Result:
    """What a run left: its folder (None on ranks that write nothing) and its final figures."""

    folder: Path | None
    figures: dict[str, Any]


def fit(job: Job, watch: Watch | None = None) -> Result:
    """Train, and leave everything in the run's folder. Raises what training raised, after the folder has been completed.

    ``watch``: of a rank that another one has started.
    """
    watch, ended = watch or Watch(), False
    calm()
    first = run_folder.rank() == 0
    say = aloud if first and not job.quiet else silent
    shown = first and not job.quiet and (job.config.get("trainer") or {}).get("enable_progress_bar") is not False
    bar = Bar() if shown else None
    with restored():
        planned = plan(job, say, bar)
        folder = open_folder(planned, say) if first else None
        try:
            result = train(planned, folder, bar, say, watch)
            ended = True
            return result
        except SystemExit as e:  # on SIGTERM all ranks stop
            ended = isinstance(e, Preempted) or e.code == 0
            raise
        finally:
            ranks.close(watch, ended=ended)


def open_folder(planned: Plan, say: Callable[[str], None]) -> Path:
    """The run's folder with what is known at the start; a run that goes on keeps its own."""
    job, about = planned.job, planned.about()
    if job.resumed is None:
        folder = run_folder.new_folder(runs_of(job.config), job.recipe)
        run_folder.write_start(folder, job.config, job.difference, about)
    else:
        folder = job.resumed.folder
        run_folder.note_resumed(folder, job.config, job.difference, about, planned.step or 0)
    planned.corpus.tokenizer.save(folder / "tokenizer.json")
    ranks.tell(folder, job.resumed.checkpoint if job.resumed else None)
    say(f"run: {folder}")
    return folder


def train(planned: Plan, folder: Path | None, bar: Bar | None, say: Callable[[str], None], watch: Watch) -> Result:
    """``folder`` is None on ranks that write nothing."""
    job, module, data = planned.job, planned.module, planned.data
    recorder = Recorder(
        MetricsFile(folder / "metrics.csv", upto=planned.step) if folder else None,
        bar,
        tokens_per_step=planned.tokens_per_step,
        total_steps=module.total_steps,
        blocks_per_step=module.batch_size / data.train.n_blocks,
        validation=(data.validation.n_bytes, data.validation.n_targets) if data.validation is not None else (0, 0),
    )
    save = planned.settings.get("enable_checkpointing") is not False
    keeper = Checkpoints(folder / "checkpoints" if folder else None, job.config, planned.tokenizer, recorder, save=save)
    samples = Samples(folder / "samples.txt" if folder else None, job.config, bar.say if bar else None, recorder)
    extras: list[Any] = []
    state, judged = "failed", {}

    def complete(figures: dict[str, Any]) -> None:
        if folder is not None:
            ending.complete(folder, job.recipe, figures, extras, say)

    watch.complete = lambda: complete(ending.figures_of(recorder, planned.parameters, state, data.validated))
    watch.folder = folder or watch.folder
    try:
        loggers = make_loggers(job.config.get("logger"), folder, job.config, say)
        extras = ending.extras_of(loggers, samples, job.config.get("logger") or {}) if folder else []
        trainer = make_trainer(
            planned.settings,
            module.validation_every,
            module.total_steps,
            folder=folder,
            loggers=loggers,
            callbacks=[Together([Alike(planned), recorder, samples, keeper, Preemption(keeper)]), *planned.callbacks],
        )
        ranks.prepare(trainer, watch)
        # weights_only: a checkpoint is data, not code
        trainer.fit(module, data, ckpt_path=str(job.resumed.checkpoint) if job.resumed else None, weights_only=True)
        state = "finished" if trainer.global_step >= module.total_steps else "stopped early"
        judged = ending.judge(trainer, module, job.config, getattr(planned.source, "judge", None))
    except Preempted:
        state = "preempted"
        if folder is None and run_folder.FOLDER in os.environ:
            raise SystemExit(0) from None  # Lightning's launcher ends the first rank when another one ends with an error
        raise
    except SystemExit as e:
        state = "interrupted"
        if isinstance(e.__context__, KeyboardInterrupt):  # Lightning turns it into exit(1)
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as e:
        if (lost := watch.explained(e)) is not None:
            raise lost from e
        if tells_of_a_dead_reader(e):
            raise gone() from e
        raise
    except MisconfigurationException as e:  # Lightning's word for what the user gave
        raise UserError("trainer", " ".join(str(e).split())) from e
    finally:
        figures = {**ending.figures_of(recorder, planned.parameters, state, data.validated), **judged}
        complete(figures)
    return Result(folder, figures)


@contextmanager
def restored() -> Iterator[None]:
    """The process afterwards as it was: what Lightning sets would make the next run a child of this one, and deaf to Ctrl-C."""
    environment = dict(os.environ)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        if main:
            signal.signal(signal.SIGINT, handler)
