"""One run: plan a job, train it, and complete its folder however it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule

from components.core import html
from components.core.bar import Bar
from components.core.errors import UserError
from components.core.files import read_bytes
from components.core.traits import judge_of
from components.corpus.blocks import Blocks
from components.corpus.corpus import Corpus
from components.corpus.shares import Shares
from components.runs import run_files, run_folder
from components.runs.metrics_file import MetricsFile
from components.runs.preparing import no_print, print_out, runs_of
from components.runs.run_files import Figures
from components.training import finalize, out_of_memory, ranks, slurm
from components.training.alike import Alike
from components.training.building import quiet_lightning
from components.training.callback_group import CallbackGroup
from components.training.callbacks import watched
from components.training.devices import processes
from components.training.entry import Entry
from components.training.folders import read_folders
from components.training.keeping import Keeping
from components.training.lock import Lock
from components.training.loggers import make_loggers
from components.training.making import make_trainer
from components.training.missing import RankLost
from components.training.planning import Job, Plan, plan
from components.training.preemption import Preemption, nothing
from components.training.progress import Recorder
from components.training.reading import gone, tells_of_a_dead_reader
from components.training.samples import Samples
from components.training.saving import Checkpoints
from components.training.signals import INTERRUPT, REQUEUE, Preempted, Signals
from components.training.watch import Watch

__all__ = ["Job", "Result", "fit"]


@dataclass(frozen=True)
class Result:
    """A run's folder (None on ranks that write nothing) and its final figures. A notebook shows both, and the curves."""

    folder: Path | None
    figures: Figures

    def _repr_html_(self) -> str:
        rows = [
            (n.replace("_", " "), f"{v:,.5g}" if isinstance(v, float) else str(v))
            for n, v in self.figures.items()
            if v is not None
        ]
        curves = None if self.folder is None else self.folder / "curves.png"
        shown = html.picture(read_bytes(curves), "curves") if curves is not None and curves.is_file() else ""
        return html.table(rows, title=str(self.folder or "")) + shown


def fit(job: Job, watch: Watch | None = None) -> Result:
    """Train, and leave everything in the run's folder. What training raises is raised after the folder has been completed.

    ``watch``: given for a rank that another one has started.
    """
    watch, ended = watch or Watch(), False
    quiet_lightning()
    first = run_folder.rank() == 0
    say = print_out if first and not job.quiet else no_print
    shown = first and not job.quiet and (job.config.get("trainer") or {}).get("enable_progress_bar") is not False
    bar = Bar() if shown else None
    signals = Signals(requeue=slurm.job() is not None, aloud=first)
    with restored(), signals.heard():
        planned = plan(job, say, bar)
        folder = folder_of(planned) if first else None
        lock = Lock(folder) if folder is not None else None  # before anything is written into an existing folder
        try:
            result = train(planned, folder, bar, say, watch, signals)
            ended = True
            return result
        except (SystemExit, KeyboardInterrupt) as e:  # a signal asked for it, and all ranks stop
            ended = signals.agreed or (isinstance(e, SystemExit) and e.code == 0)
            raise
        finally:
            ranks.close(watch, ended=ended)
            if lock is not None:
                lock.release()


def folder_of(planned: Plan) -> Path:
    """The run's folder: a new one, or that of the run that goes on."""
    job = planned.job
    folder = run_folder.new_folder(runs_of(job.config), job.recipe) if job.resumed is None else job.resumed.folder
    ranks.tell(folder, job)
    return folder


def shares_of(planned: Plan) -> Shares | None:
    """Of the sources of a mixture in what is read; None where there is no mixture, or where each epoch reads the same few rows."""
    corpus, rows = planned.corpus, planned.data.train
    if (
        not isinstance(corpus, Corpus)
        or corpus.sources is None
        or not isinstance(rows, Blocks)
        or planned.settings.get("overfit_batches")
    ):
        return None
    return Shares(corpus.sources, rows, planned.module.batch_size)


def train(
    planned: Plan, folder: Path | None, bar: Bar | None, say: Callable[[str], None], watch: Watch, signals: Signals
) -> Result:
    """``folder`` is None on ranks that write nothing."""
    job, module, data = planned.job, planned.module, planned.data
    file = MetricsFile(folder / "metrics.csv") if folder else None
    entry = Entry(planned, folder, file, say)
    recorder = Recorder(
        file,
        bar,
        tokens_per_step=planned.tokens_per_step,
        total_steps=module.total_steps,
        blocks_per_step=module.batch_size / data.train.n_blocks,
        validation=(data.validation.n_bytes, data.validation.n_targets) if data.validation is not None else (0, 0),
        watched=watched(planned.callbacks, module.best_by),
        shares=shares_of(planned) if folder else None,
    )
    save = planned.settings.get("enable_checkpointing") is not False
    keeper = Checkpoints(
        folder / "checkpoints" if folder else None,
        job.config,
        planned.tokenizer,
        recorder,
        save=save,
        keeping=Keeping(planned.settings["keep_last"], planned.settings["keep_every"]),
        finishing=planned.finishing,
    )
    samples = Samples(folder / "samples.txt" if folder else None, say=bar.say if bar else None, recorder=recorder)
    extras: list[finalize.Extra] = []
    state, judged, asked = "failed", {}, 0

    def figures() -> Figures:
        return {**finalize.figures_of(recorder, planned.parameters, state, data.validated), **judged}

    def complete() -> UserError | None:
        if folder is None or not entry.entered:
            return None
        return finalize.complete(folder, job.recipe, figures(), extras, say)

    watch.complete = complete
    watch.folder = folder or watch.folder
    try:
        loggers = make_loggers(job.config.get("logger"), folder, job.config, say, planned.step)
        extras = finalize.extras_of(loggers, samples) if folder else []
        trainer = make_trainer(
            planned.settings,
            module.validation_every,
            module.total_steps + planned.finishing,  # Lightning does not start if no step is left
            folder=folder,
            loggers=loggers,
            # what saves comes after everything that counts
            callbacks=[
                CallbackGroup(
                    [Alike(planned), entry, recorder, samples, *planned.callbacks, keeper, Preemption(keeper, signals)]
                )
            ],
        )
        read_folders(trainer.strategy)
        trainer._signal_connector.register_signal_handlers = nothing
        ranks.prepare(trainer, watch, planned.settings["timeout"])
        # weights_only: a checkpoint is data, not code
        trainer.fit(
            cast(LightningModule, module),
            data,
            ckpt_path=str(job.resumed.checkpoint) if job.resumed else None,
            weights_only=True,
        )
        signals.phase = "after"
        state = "finished" if trainer.global_step >= module.total_steps else "stopped early"
        judged = finalize.judge(trainer, module, job.config, judge_of(planned.source))
    except Preempted as e:
        signals.phase, signals.agreed, asked = "after", True, e.asked
        state = "interrupted" if asked == INTERRUPT else "preempted"
        if folder is None and run_folder.FOLDER in os.environ:
            raise SystemExit(0) from None  # Lightning's launcher ends the first rank when another one ends with an error
        if asked == INTERRUPT:
            raise KeyboardInterrupt from None
        raise
    except SystemExit as e:
        state = "interrupted"
        if isinstance(e.__context__, KeyboardInterrupt):  # Lightning turns it into exit(1)
            raise KeyboardInterrupt from None
        raise
    except (RuntimeError, MemoryError) as e:
        accumulate = planned.settings.get("accumulate_grad_batches") or 1
        if (full := out_of_memory.explained(e, module, accumulate=accumulate, ranks=processes(planned.settings))) is not None:
            raise full from e
        if isinstance(e, RuntimeError) and (lost := watch.explained(e)) is not None:
            raise (SystemExit(lost.exit_code) if isinstance(lost, RankLost) and not lost.aloud else lost) from e
        if isinstance(e, RuntimeError) and tells_of_a_dead_reader(e):
            raise gone() from e
        raise
    except MisconfigurationException as e:  # Lightning's word for what the user gave
        raise UserError("trainer", " ".join(str(e).split())) from e
    finally:
        signals.phase = "after"
        fault = complete()
        if asked == REQUEUE and folder is not None:
            slurm.requeue(say)
        if fault is not None and state in run_files.DONE:  # else the error that ended the run matters, not this consequence
            raise fault
    return Result(folder, figures())


@contextmanager
def restored() -> Iterator[None]:
    """Restore environment and Ctrl-C afterwards. What Lightning leaves would make the next run a child of this one, and deaf to Ctrl-C."""
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
