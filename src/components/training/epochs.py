"""How many optimizer steps a Lightning epoch has under a given trainer, and a whole run: in steps, whatever the trainer counts in."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from components.core.errors import UserError


def overfitting(trainer: Trainer) -> bool:
    """Whether each epoch is to read the same few batches."""
    return trainer.overfit_batches > 0  # type: ignore[attr-defined]  # Lightning sets it without declaring it


def steps_in(trainer: Trainer, per_epoch: int) -> int:
    """Optimizer steps of an epoch of ``per_epoch`` that the trainer's limits leave.

    Raises:
        UserError: what is left is no whole number of steps: the last one would learn from a part of its rows.
    """
    limit, accumulate = trainer.limit_train_batches, trainer.accumulate_grad_batches
    batches = per_epoch * accumulate
    left = min(limit, batches) if isinstance(limit, int) else int(limit * batches)
    if left % accumulate:
        fast = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        name = "fast_dev_run" if fast else "overfit_batches" if overfitting(trainer) else "limit_train_batches"
        raise UserError(
            f"trainer.{name}",
            f"{left} micro-batches are no whole number of steps of accumulate_grad_batches={accumulate}",
            f"take a multiple of {accumulate}",
        )
    return max(1, left // accumulate)


def steps_of_run(trainer: Trainer, per_epoch: int) -> float:
    """Optimizer steps until the trainer stops by itself; inf where neither steps nor epochs end the run.

    It is ``trainer.estimated_stepping_batches``, but for the loaders: that would start their reader processes before a checkpoint has said where
    to begin.
    """
    limits = [float(trainer.max_steps)] if trainer.max_steps != -1 else []
    if trainer.max_epochs is not None and trainer.max_epochs != -1:
        limits.append(steps_in(trainer, per_epoch) * max(trainer.max_epochs, 1))
    return min(limits, default=math.inf)


def need_one_accumulation(trainer: Trainer) -> None:
    """UserError if the number of micro-batches of a step is to change while the run goes on."""
    if any(isinstance(c, GradientAccumulationScheduler) for c in trainer.callbacks):  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        raise UserError(
            "GradientAccumulationScheduler",
            "it changes how many micro-batches a step has, and the rows of a step have been divided before",
            "use Trainer(accumulate_grad_batches=...), and task.batch_size for more rows",
        )
