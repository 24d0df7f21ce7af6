"""Reports of a run while it trains: rows of metrics.csv, a bar with loss, speed and time left, a line for each validation.

Lightning's ``self.log`` and its bar cost more than a small step. Here a step costs a comparison, and figures are read from the device
once every ``log_every_n_steps``.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer

from components.core.bar import Bar
from components.core.errors import UserError
from components.core.flops import flops_per_token
from components.core.weight_names import first_few
from components.corpus.shares import Shares
from components.parts.optimizer._nested import figures
from components.runs.metrics_file import (
    EPOCH,
    LR,
    MFU,
    SECONDS,
    SPEED,
    TOKENS,
    TRAIN_LOSS,
    VAL_BITS,
    VAL_LOSS,
    VALIDATION,
    MetricsFile,
    Row,
)
from components.runs.task_module import TaskModule
from components.training.evaluated import evaluated, of_step
from components.training.flops import multiplied_in, peak_flops
from components.training.kernel_line import SaysKernels


class Recorder(SaysKernels):
    """Counts tokens and seconds, writes rows, feeds the loggers, stops at the last step.

    Args:
        file: metrics.csv, or None on ranks that write nothing.
        bar: the progress bar, or None.
        tokens_per_step: over all devices and micro-batches.
        total_steps: the step to stop at; stopping here makes Lightning validate once more.
        blocks_per_step: the share of an epoch that one step reads, for the column ``epoch``.
        validation: (bytes, targets) of the whole validation split, for bits per byte.
        shares: the share of each source of a mixture in the steps from one to before another; None: there is no mixture.
        watched: (figure of validation, "min" or "max") that decides which checkpoint is the best.
    """

    def __init__(
        self,
        file: MetricsFile | None,
        bar: Bar | None,
        *,
        tokens_per_step: float,
        total_steps: int,
        blocks_per_step: float,
        validation: tuple[int, int],
        watched: tuple[str, str] = (VAL_LOSS, "min"),
        shares: Shares | None = None,
    ) -> None:
        self.file, self.bar, self.tokens_per_step, self.total_steps = file, bar, tokens_per_step, total_steps
        self.blocks_per_step, self.validation, self.watched, self.shares = blocks_per_step, validation, watched, shares
        self.seconds = 0.0  # of training only, without validation, samples and saving
        self.final, self.best = dict[str, float](), dict[str, float]()
        self.idle = 0  # steps without any target
        self._since: float | None = None
        self._marked = (0, 0.0)  # step and seconds of the row before
        self._step, self._every, self._per_token, self._peak = -1, 1, 0.0, None

    def pause(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def go_on(self) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def now(self) -> float:
        return self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def state_dict(self) -> dict[str, object]:
        # saving is not training time: a run that goes on counts from here
        more = {"idle": self.idle, "marked": list(self._marked)}
        return {"seconds": self.now(), "best": dict(self.best), "final": dict(self.final), **more}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.best, self.final = state_dict["seconds"], dict(state_dict["best"]), dict(state_dict["final"])
        self.idle = state_dict.get("idle", 0)
        self._marked = tuple(state_dict.get("marked", (0, 0.0)))  # type: ignore[assignment]  # a list is what a checkpoint holds

    # -- training ----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with torch.no_grad():
            model = _task(pl_module).model
            self._per_token = flops_per_token(model, model.context_length)
        self._peak = peak_flops(trainer.strategy.root_device, multiplied_in(trainer))
        self._every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        self._step = trainer.global_step
        if not 0 < self._marked[0] <= self._step:
            self._marked = (self._step, self.seconds)
        if self.bar is not None:
            self.bar.start(self._step, self.total_steps, self.seconds)
        self.go_on()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._step:
            return  # gradients are still being accumulated
        self._step = step
        if self.heard is not None:
            self.say_kernels()
        task = _task(pl_module)
        if task.idle:
            self._count_idle(step)
        if task.unread and "unread_weights" not in self.final:
            self.final["unread_weights"] = len(task.unread)
            if self.bar is not None:
                self.bar.say(
                    f"no gradient reaches {first_few(list(task.unread))}: nothing reads them, so they stay as they are"
                )
        if last := step >= self.total_steps:
            trainer.should_stop = True
        if last or step % self._every == 0:
            self._record(trainer, task, step)
        if self.bar is not None:
            self.bar.update(step, self.now())

    def _count_idle(self, step: int) -> None:
        self.idle += 1
        self.final["idle_steps"] = self.idle
        if self.idle == 1 and self.bar is not None:
            self.bar.say(f"step {step}  asks for nothing (no target in its rows), and changes nothing; such steps are counted")

    def _record(self, trainer: Trainer, module: TaskModule, step: int) -> None:
        losses = module.take_train()
        seconds = self.now()
        done, before = self._marked
        self._marked = (step, seconds)
        speed = (step - done) * self.tokens_per_step / max(seconds - before, 1e-9)
        row = {
            EPOCH: step * self.blocks_per_step,
            TOKENS: round(step * self.tokens_per_step),
            SECONDS: seconds,
            TRAIN_LOSS: losses.get("loss"),  # None if there was no target since the last row
            LR: rate(trainer),
            SPEED: speed,
            MFU: speed * self._per_token / self._peak / trainer.world_size if self._peak else None,
        }
        own = figures(trainer.optimizers[0]) | module.faults
        self.final.update({n: v for n, v in (row | own).items() if v is not None}, step=step)
        shares = {} if self.shares is None else self.shares(done, step)
        self.give(trainer, step, row, of_step(trainer, module, losses) | shares)
        if row[TRAIN_LOSS] is not None and not math.isfinite(row[TRAIN_LOSS]):
            raise UserError(
                "training",
                f"the loss is {row[TRAIN_LOSS]} at step {step}",
                "lower optimizer.lr, or warm up longer; the steps before are in metrics.csv",
            )

    def give(self, trainer: Trainer, step: int, row: Row, extra: dict[str, float]) -> None:
        """Figures of a step for its row and the loggers; ``extra`` are those that have a column only where they are measured."""
        if self.file is not None:
            self.file.add(step, **row, **extra)
        if self.bar is not None:
            self.bar.figures(row)
        figures = {n: v for n, v in {**row, **extra}.items() if v is not None}
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=step)

    # -- validation --------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pause()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return  # the task logs by itself
        if trainer.sanity_checking:
            _task(pl_module).take_eval()  # the sanity check does not count
            return
        row = evaluated(_task(pl_module), self.validation)
        step = trainer.global_step
        self.final.update(row, step=step)
        if self._is_best(row):
            self.best = {**row, "step": step}
        trainer.callback_metrics.update({n: torch.tensor(v) for n, v in row.items()})  # what EarlyStopping watches
        row = {EPOCH: step * self.blocks_per_step, TOKENS: round(step * self.tokens_per_step), SECONDS: self.seconds, **row}
        shown = {n: row.get(n) for n in (EPOCH, TOKENS, SECONDS, VAL_LOSS, VAL_BITS)}
        self.give(trainer, step, shown, {n: v for n, v in row.items() if n.startswith(VALIDATION) and n not in shown})
        self.flush()
        if self.bar is not None:
            self.bar.validated(step, row)
        if VAL_LOSS in row and not math.isfinite(row[VAL_LOSS]):  # before it overwrites the last good checkpoint
            raise UserError(
                "training",
                f"the validation loss is {row[VAL_LOSS]} at step {step}",
                "lower optimizer.lr, or warm up longer; last.ckpt is of the validation before",
            )

    def _is_best(self, row: dict[str, float]) -> bool:
        name, better = self.watched
        value, before = row.get(name, math.nan), self.best.get(name)
        if before is None:
            return not math.isnan(value)
        return value <= before if better == "min" else value >= before

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.go_on()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        with suppress(UserError):  # a full disk, which may be the reason for the exception
            self.close()

    def flush(self) -> None:
        """Write everything counted so far to the file."""
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        self.pause()
        self.flush()
        if self.bar is not None:
            self.bar.stop()


def _task(module: LightningModule) -> TaskModule:
    """The module that Lightning hands on, as a run's."""
    return cast(TaskModule, module)


def rate(trainer: Trainer) -> float:
    """The largest learning rate of the next step."""
    return max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)
