"""What a task tells of its steps and validations: sums over all ranks, and Lightning's ``self.log`` of the means that they come to.

Where our ``Recorder`` is attached it asks for the sums itself, and nothing is logged a second time: ``recorded`` decides, and is set in one place.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from components.core.collectives import Sums, computed
from components.runs.metrics_file import LR, TRAIN_LOSS, VALIDATION
from components.training.callback_group import members_of
from components.training.data_module import PackedDataModule
from components.training.evaluated import evaluated, of_step
from components.training.progress import Recorder, rate
from components.training.reductions import means
from components.training.strategies import data_ranks

TEST = "test_"  # the beginning of each figure of a test


class Logged:
    """Hooks of a LightningModule that report. ``train_loss`` is the mean over all targets since it was last given to a logger, over all ranks."""

    recorded = False

    def begin_logging(self) -> None:
        self.train_sums: dict[str, Tensor] = {}
        self.eval_sums: dict[str, Tensor] = {}
        self._train_over, self._eval_over = Sums(), Sums()  # over all ranks
        self._told = -1  # the step that was logged last

    def setup(self, stage: str) -> None:
        callbacks = members_of(self.trainer.callbacks)  # type: ignore[attr-defined]
        self.recorded = stage == "fit" and any(isinstance(c, Recorder) for c in callbacks)

    def on_train_start(self) -> None:
        super().on_train_start()  # type: ignore[misc]  # a LightningModule's
        self._told = self.trainer.global_step  # type: ignore[attr-defined]
        if not self.recorded:
            self.train_sums = {}  # of what a search for a batch size or a learning rate has tried
        self.need_own_loader()  # type: ignore[attr-defined]
        self.settle_rates()  # type: ignore[attr-defined]

    # -- training ----------------------------------------------------------------------------------------------------

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        if self.recorded:
            return
        trainer: Any = self.trainer  # type: ignore[attr-defined]
        step = trainer.global_step
        if step == self._told:
            return  # gradients are still being accumulated
        first, self._told = self._told < 1, step
        row: dict[str, float | Tensor] = {LR: rate(trainer)}
        every = trainer.log_every_n_steps  # 0 where nothing is logged
        if every and step % every == 0:  # when Lightning hands on what was logged
            losses = self.take_train()
            row |= {TRAIN_LOSS: losses["loss"]} if "loss" in losses else {}
            row |= of_step(trainer, self, losses)  # type: ignore[arg-type]
        elif data_ranks(trainer)[1] == 1 or first:  # for bars and callbacks; ranks do not meet at each step for it
            row |= self._so_far() if first else self._here()
        self._log(row, prog_bar=(TRAIN_LOSS,), on_step=True, on_epoch=False)

    def on_train_epoch_end(self) -> None:
        if not self.recorded and data_ranks(self.trainer)[1] > 1:  # type: ignore[attr-defined]
            # what callbacks watch at the end of an epoch; a logger gets the mean when it is whole
            self._log(self._so_far(), on_step=False, on_epoch=True, logger=False, sync_dist=True)

    def _here(self) -> dict[str, Tensor]:
        """The mean so far on this rank, left on the device."""
        return {TRAIN_LOSS: pair[0] / pair[1]} if (pair := self.train_sums.get("loss")) is not None else {}

    def _so_far(self) -> dict[str, float]:
        found = means(self.train_so_far())
        return {TRAIN_LOSS: found["loss"]} if "loss" in found else {}

    def _log(self, row: Mapping[str, float | Tensor], *, prog_bar: tuple[str, ...] = (), **how: bool) -> None:
        for name, value in row.items():
            self.log(name, value, prog_bar=name in prog_bar, **how)  # type: ignore[attr-defined]

    # -- validation and test -----------------------------------------------------------------------------------------

    def on_validation_epoch_end(self) -> None:
        if not self.recorded:
            self._log_measured(VALIDATION, "validation")

    def on_test_epoch_end(self) -> None:
        self._log_measured(TEST, "test")

    def _log_measured(self, prefix: str, split: str) -> None:
        trainer: Any = self.trainer  # type: ignore[attr-defined]
        if trainer.sanity_checking:
            self.take_eval()  # the sanity check does not count
            return
        data = trainer.datamodule
        whole = data.bytes_and_targets(split) if isinstance(data, PackedDataModule) else (0, 0)
        row = evaluated(self, whole, prefix)  # type: ignore[arg-type]
        # the values are those of all ranks; `sync_dist` only says so
        self._log(row, prog_bar=(f"{prefix}loss",), on_step=False, on_epoch=True, sync_dist=True)

    # -- sums over all ranks -----------------------------------------------------------------------------------------

    def train_so_far(self) -> dict[str, Tensor]:
        """Sums over all ranks of what was trained on since they were last taken."""
        return self._train_over(self.train_sums)

    def take_train(self) -> dict[str, float]:
        """Means over what was trained on since the last call, over all ranks."""
        taken, self.train_sums = means(self._train_over(self.train_sums)), {}
        return taken

    def take_eval(self) -> tuple[dict[str, float], float, float]:
        """({"loss": its mean, and the task's metrics}, sum of nats, number of targets) of the validation or test pass, over all ranks."""
        sums, self.eval_sums = self._eval_over(self.eval_sums), {}
        nats, weight = sums["loss"].tolist() if "loss" in sums else (0.0, 0.0)
        loss = {"loss": nats / weight} if weight else {}
        return {**loss, **self.take_metrics()}, nats, weight

    def take_metrics(self) -> dict[str, float]:
        """Each metric that a rank has fed, over all ranks since the last call, 0 to 1 where it is a share. All ranks call this."""
        return computed(self.meters)  # type: ignore[attr-defined]
