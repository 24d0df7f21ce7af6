"""Going back while a run goes on: weights and the optimizer's state of the last checkpoint, with the step, the data and the schedule where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from components.core.collectives import everywhere
from components.core.errors import UserError
from components.training.averaging import forget_gathered
from components.training.callback_group import members_of
from components.training.saving import Checkpoints
from components.training.task._training import Training

WHERE = "callbacks.guard.on_fault"


def last_checkpoint(trainer: Trainer, *, there: bool = True, fault: str = "") -> Path:
    """The run's ``last.ckpt``, the same on all ranks; outside a run the newest of a ``ModelCheckpoint``.

    Args:
        trainer: Lightning's.
        there: whether it must exist by now.
        fault: what has happened, for the message.

    Raises:
        UserError: nothing saves, or nothing has been saved.
    """
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it without declaring it
    keeper = next((c for c in members_of(callbacks) if isinstance(c, Checkpoints)), None)
    other: Any = trainer.checkpoint_callback
    if (keeper is None or not keeper.save) and other is None:
        raise UserError(WHERE, "rewind goes back to a checkpoint, and none is written", "set trainer.enable_checkpointing=true")
    if keeper is not None:
        keeper.settle(trainer)
        file = None if keeper.folder is None else keeper.folder / "last.ckpt"
    else:
        file = Path(other.last_model_path or other.best_model_path)
    found = everywhere(None if file is None or not file.exists() or not file.name else str(file))[0]
    if found is None and there:
        raise UserError(
            "training",
            f"{fault}, and there is no checkpoint yet to go back to",
            "set task.validation_every to less, or on_fault=skip",
        )
    return Path(found or "")


def rewind(trainer: Trainer, task: Training, fault: str) -> int:
    """Give the model and the optimizer what the last checkpoint has. Returns its step. All ranks call this."""
    file, strategy = last_checkpoint(trainer, fault=fault), trainer.strategy
    held = strategy.load_checkpoint(file, weights_only=True)
    strategy.load_model_state_dict(held, strict=True)
    strategy.load_optimizer_state_dict(held)
    task.holds_average = True  # a checkpoint has the average as its weights, if there is one
    task.put_average(on=False)
    forget_gathered(task.whole)
    everywhere(file.name)  # no rank goes on, and writes it anew, before all have read it
    return int(held["global_step"])
