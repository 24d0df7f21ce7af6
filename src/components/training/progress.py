"""What a run says while it trains: rows of metrics.csv, a bar with loss, speed and time left, one line per validation.

Lightning's ``self.log`` and its bar cost more than a small step; here a step costs a comparison, and figures are read off the device
once per ``log_every_n_steps``.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from components.core.errors import UserError
from components.core.traits import counts_tokens, measures_text
from components.core.weight_names import first_few
from components.parts.optimizer._nested import figures
from components.runs.metrics_file import MetricsFile, perplexity
from components.training.flops import flops_per_token, peak_flops
from components.training.loads import loads


class Recorder(Callback):
    """Counts tokens and seconds, writes rows, feeds the loggers, stops at the last step.

    Args:
        file: metrics.csv, or None on ranks that write nothing.
        bar: what shows the progress, or None.
        tokens_per_step: over all devices and micro-batches.
        total_steps: the step to stop at; stopping here makes Lightning validate once more.
        blocks_per_step: share of an epoch that one step reads, for the column ``epoch``.
        validation: (bytes, targets) of the whole validation split.
        watched: (figure of validation, "min" or "max") that says which checkpoint is the best.
    """

    def __init__(
        self,
        file: MetricsFile | None,
        bar: Any,
        *,
        tokens_per_step: float,
        total_steps: int,
        blocks_per_step: float,
        validation: tuple[int, int],
        watched: tuple[str, str] = ("val_loss", "min"),
    ) -> None:
        self.file, self.bar, self.tokens_per_step, self.total_steps = file, bar, tokens_per_step, total_steps
        self.blocks_per_step, self.validation, self.watched = blocks_per_step, validation, watched
        self.seconds = 0.0  # of training alone: validation, samples and saving do not count
        self.final: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.idle = 0  # steps whose rows asked for nothing
        self._since: float | None = None
        self._marked = (0, 0.0)  # step and seconds of the row before
        self._step, self._per_token, self._peak = -1, 0.0, None

    # -- the clock ---------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def go_on(self) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def now(self) -> float:
        return self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def state_dict(self) -> dict[str, Any]:
        # the time of saving is not training's: a run that goes on counts on from here
        more = {"idle": self.idle, "marked": list(self._marked)}
        return {"seconds": self.now(), "best": dict(self.best), "final": dict(self.final), **more}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.best, self.final = state_dict["seconds"], dict(state_dict["best"]), dict(state_dict["final"])
        self.idle = state_dict.get("idle", 0)
        self._marked = tuple(state_dict.get("marked", (0, 0.0)))  # type: ignore[assignment]  # a list is what a checkpoint holds

    # -- training ----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        with torch.no_grad():
            self._per_token = flops_per_token(pl_module.model, pl_module.model.context_length)
        self._peak = peak_flops(trainer.strategy.root_device, _multiplied_in(trainer))
        self._step = trainer.global_step
        if not 0 < self._marked[0] <= self._step:
            self._marked = (self._step, self.seconds)
        if self.bar is not None:
            self.bar.start(self._step, self.total_steps, self.seconds)
        self.go_on()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step == self._step:
            return  # gradients are still being added up
        self._step = step
        if pl_module.idle:
            self._count_idle(step)
        if (unread := pl_module.unread) and "unread_weights" not in self.final:
            self.final["unread_weights"] = len(unread)
            if self.bar is not None:
                self.bar.say(f"no gradient reaches {first_few(unread)}: nothing reads them, so they stay as they are")
        last = step >= self.total_steps
        if last:
            trainer.should_stop = True
        if last or step % trainer.log_every_n_steps == 0:
            self._record(trainer, pl_module, step)
        if self.bar is not None:
            self.bar.update(step, self.now())

    def _count_idle(self, step: int) -> None:
        self.idle += 1
        self.final["idle_steps"] = self.idle
        if self.idle == 1 and self.bar is not None:
            self.bar.say(f"step {step}  asks for nothing (no target in its rows), and changes nothing; such steps are counted")

    def _record(self, trainer: Trainer, module: Any, step: int) -> None:
        losses = module.take_train()
        seconds = self.now()
        done, before = self._marked
        self._marked = (step, seconds)
        speed = (step - done) * self.tokens_per_step / max(seconds - before, 1e-9)
        row = {
            "epoch": step * self.blocks_per_step,
            "tokens": round(step * self.tokens_per_step),
            "seconds": seconds,
            "train_loss": losses.get("loss"),  # none where nothing was asked since the last row
            "lr": _rate(trainer),
            "tokens_per_second": speed,
            "mfu": speed * self._per_token / self._peak / trainer.world_size if self._peak else None,
        }
        own = figures(trainer.optimizers[0])
        self.final.update({n: v for n, v in (row | own).items() if v is not None}, step=step)
        extra = own | {f"train_{n}": v for n, v in losses.items() if n != "loss"} | loads(module.last_stats)
        if module.grad_norm is not None:
            extra["grad_norm"] = float(module.grad_norm)
        self._give(trainer, step, row, extra)
        if row["train_loss"] is not None and not math.isfinite(row["train_loss"]):
            raise UserError(
                "training",
                f"the loss is {row['train_loss']} at step {step}",
                "lower optimizer.lr, or warm up longer; the steps before are in metrics.csv",
            )

    def _give(self, trainer: Trainer, step: int, row: dict[str, Any], extra: dict[str, float]) -> None:
        if self.file is not None:
            self.file.add(step, **row, **extra)
        if self.bar is not None:
            self.bar.figures(row)
        figures = {n: v for n, v in {**row, **extra}.items() if v is not None}
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=step)

    # -- validation --------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.pause()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking:
            pl_module.take_eval()  # nothing of it counts
            return
        row = evaluated(pl_module, self.validation, "val")
        step = trainer.global_step
        self.final.update(row, step=step)
        if self._is_best(row):
            self.best = {**row, "step": step}
        trainer.callback_metrics.update({n: torch.tensor(v) for n, v in row.items()})  # what EarlyStopping watches
        row = {
            "epoch": step * self.blocks_per_step,
            "tokens": round(step * self.tokens_per_step),
            "seconds": self.seconds,
            **row,
        }
        shown = {n: row.get(n) for n in ("epoch", "tokens", "seconds", "val_loss", "val_bits_per_byte")}
        self._give(trainer, step, shown, {n: v for n, v in row.items() if n.startswith("val_") and n not in shown})
        self.flush()
        if self.bar is not None:
            self.bar.validated(step, row)
        if "val_loss" in row and not math.isfinite(row["val_loss"]):  # before it is saved over the last good checkpoint
            raise UserError(
                "training",
                f"the validation loss is {row['val_loss']} at step {step}",
                "lower optimizer.lr, or warm up longer; last.ckpt is of the validation before",
            )

    def _is_best(self, row: dict[str, float]) -> bool:
        name, better = self.watched
        value, before = row.get(name, math.nan), self.best.get(name)
        if before is None:
            return not math.isnan(value)
        return value <= before if better == "min" else value >= before

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.go_on()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.close()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        with suppress(UserError):  # a full disk, which may be the very reason
            self.close()

    def flush(self) -> None:
        """What has been counted is in the file."""
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        self.pause()
        self.flush()
        if self.bar is not None:
            self.bar.stop()


def evaluated(module: Any, whole: tuple[int, int], prefix: str) -> dict[str, float]:
    """Loss, perplexity of tokens, metrics and bits per byte of the pass that has just ended. A part of the split has its share of the bytes.

    Bits per byte are there only if the loss is the likelihood of the text, left to right.
    """
    means, nats, weight = module.take_eval()
    n_bytes, n_targets = whole
    seen = n_bytes * (weight / n_targets) if n_targets else 0.0
    loss = means.pop("loss", math.nan)
    row = {f"{prefix}_loss": loss}
    if counts_tokens(module.loss):
        row[f"{prefix}_perplexity"] = perplexity(loss)
    row.update({f"{prefix}_{name}": value for name, value in means.items()})
    if n_bytes and measures_text(module.loss, module.model):  # rows of examples have none: not all of their text is asked for
        row[f"{prefix}_bits_per_byte"] = nats / math.log(2) / seen if seen else math.nan
    return row


def _multiplied_in(trainer: Trainer) -> torch.dtype:
    precision = str(trainer.precision)
    if "bf16" in precision or getattr(trainer.strategy, "compute", None) is torch.bfloat16:
        return torch.bfloat16
    return {"16": torch.float16, "64": torch.float64}.get(precision.split("-")[0], torch.float32)


def _rate(trainer: Trainer) -> float:
    """The largest learning rate that the next step uses."""
    return max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)
