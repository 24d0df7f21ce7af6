"""Our callbacks for ``Trainer(callbacks=[...])``, each by itself.

``Metrics``, ``Samples`` and ``Checkpoints`` write files: they are given the place. What only a run of the command has (its entry into a run folder,
the agreement of ranks on a signal) is not here.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from lightning.pytorch import LightningModule, Trainer

from components.core.bar import Bar
from components.core.errors import UserError
from components.core.files import make_folder
from components.runs import checkpoints
from components.runs.metrics_file import VAL_LOSS, MetricsFile
from components.runs.task_module import TaskModule
from components.training import progress, saving
from components.training.callback.device_stats import DeviceStats as DeviceStats
from components.training.callback.early_stopping import EarlyStopping as EarlyStopping
from components.training.callback.figures import Figures as Figures
from components.training.callback.guard import Guard as Guard
from components.training.callback_group import CallbackGroup as CallbackGroup
from components.training.callback_group import members_of
from components.training.data_module import PackedDataModule
from components.training.samples import Samples as Samples
from components.training.task._driven import Driven

__all__ = ["CallbackGroup", "Checkpoints", "DeviceStats", "EarlyStopping", "Figures", "Guard", "Metrics", "Samples"]


class Metrics(progress.Recorder):
    """A run's ``metrics.csv`` with its columns, and its bar: loss, speed, utilisation, time left. The task does not log by Lightning's way then.

    Lightning's loggers and the callbacks that watch a figure get what is written here.

    Args:
        folder: where ``metrics.csv`` goes.
        bar: show the bar; give the trainer ``enable_progress_bar=False`` beside it.
        monitor: the figure of validation by which ``Checkpoints`` chooses the best.
        mode: which way it is better, ``min`` or ``max``.
    """

    def __init__(self, folder: str | Path, *, bar: bool = True, monitor: str = VAL_LOSS, mode: str = "min") -> None:
        self.table, self.shown = MetricsFile(Path(folder) / "metrics.csv"), Bar() if bar else None
        super().__init__(
            None, None, tokens_per_step=0.0, total_steps=0, blocks_per_step=0.0, validation=(0, 0), watched=(monitor, mode)
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find what a step reads.

        Raises:
            UserError: the data are not ours, or the task is not: who counts its tokens is not known.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it
        if not isinstance(data, PackedDataModule) or not isinstance(pl_module, Driven):
            raise UserError(
                "callbacks.Metrics", "it counts tokens of our data modules", "use Lightning's loggers beside other data"
            )
        if trainer.is_global_zero and stage == "fit":
            self.file, self.bar = self.table, self.shown
        self.tokens_per_step = data.batch_size * data.train.tokens_per_row
        self.blocks_per_step = data.batch_size / data.train.n_blocks
        self.validation = data.bytes_and_targets("validation")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.total_steps = cast(Driven, pl_module).length() or sys.maxsize
        if self.file is not None:
            make_folder(self.file.path.parent)
            self.file.open(trainer.global_step or None)
        super().on_train_start(trainer, pl_module)


class Checkpoints(saving.Checkpoints):
    """``last.ckpt`` and ``best.ckpt`` after each validation, with each rank's random state: a run goes on exactly where it was.

    It needs ``Metrics`` beside it and before it, which knows which validation was the best. Lightning's ``ModelCheckpoint`` works as well; it keeps
    no random state.

    Args:
        folder: where they go.
    """

    def __init__(self, folder: str | Path) -> None:
        unknown = progress.Recorder(None, None, tokens_per_step=0.0, total_steps=0, blocks_per_step=0.0, validation=(0, 0))
        super().__init__(Path(folder), {}, {}, unknown)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        found = [c for c in members_of(trainer.callbacks) if isinstance(c, progress.Recorder)]  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        if not found:
            raise UserError(
                "callbacks.Checkpoints", "nobody says which validation was the best", "add callbacks.Metrics(folder)"
            )
        task = cast(TaskModule, pl_module)
        self.recorder, self.config = found[0], task.config
        self.tokenizer = self.tokenizer or checkpoints.tokenizer_files(task.tokenizer)
        if trainer.is_global_zero and self.folder is not None:
            make_folder(self.folder)
