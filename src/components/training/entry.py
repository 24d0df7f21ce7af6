"""The first files of a run. A run that goes on writes nothing before its checkpoint has been loaded."""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from components.runs import run_folder
from components.runs.metrics_file import MetricsFile
from components.training.lock import sweep
from components.training.planning import Plan


class Entry(Callback):
    """Starts a run's files. If a run cannot go on, its folder stays as it was.

    Args:
        planned: the run.
        folder: the run's, or None on ranks that write nothing.
        file: metrics.csv, or None likewise.
        say: prints.
    """

    def __init__(self, planned: Plan, folder: Path | None, file: MetricsFile | None, say: Callable[[str], None]) -> None:
        self.planned, self.folder, self.file, self.say = planned, folder, file, say
        self.entered = False
        if planned.job.resumed is None:
            self.enter()
        elif folder is not None:
            say(f"run: {folder}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.entered:
            self.enter()

    def enter(self) -> None:
        self.entered = True
        if self.folder is None or self.file is None:
            return
        planned, job, about = self.planned, self.planned.job, self.planned.about()
        sweep(self.folder)
        if job.resumed is None:
            run_folder.write_start(self.folder, job.config, job.difference, about)
            self.say(f"run: {self.folder}")
        else:
            run_folder.note_resumed(self.folder, job.config, job.difference, about, planned.step or 0)
        planned.corpus.tokenizer.save(self.folder / "tokenizer.json")
        self.file.open(planned.step)
