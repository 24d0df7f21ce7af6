"""Lightning's Trainer as a run uses it: the user's arguments; order of data, saving and the bar are ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from components.errors import UserError
from components.task import limits
from components.task.strategies import strategy_of

# by our own loaders, so that Lightning does not take a share of what is a share already
DONE_BY_US = (*limits.OURS, "limit_train_batches")


def make_trainer(
    settings: dict[str, Any], every: int, steps: int, *, folder: Path | None = None, loggers: Any = (), callbacks: Any = ()
) -> Trainer:
    """
    Args:
        settings: that ``limits.trainer_settings`` has seen.
        every: optimizer steps between validations, unless the settings say it in micro-batches.
        steps: the length of the run.
        folder: of the run.
        loggers: Lightning's.
        callbacks: Lightning's.

    Raises:
        UserError: what Lightning itself refuses, here on this machine.
    """
    arguments = {n: v for n, v in settings.items() if n not in DONE_BY_US}
    strategy, precision = strategy_of(arguments.get("strategy") or "auto", str(arguments.get("precision") or "32-true"))
    accumulate = arguments.get("accumulate_grad_batches") or 1
    if arguments.get("val_check_interval") is None:
        arguments["val_check_interval"] = every * accumulate
    arguments.update(strategy=strategy, precision=precision, max_steps=steps, check_val_every_n_epoch=None)
    arguments.update(accumulate_grad_batches=accumulate, use_distributed_sampler=False)
    arguments.update(enable_progress_bar=False, enable_checkpointing=False)
    try:
        return Trainer(
            **arguments, callbacks=list(callbacks), logger=list(loggers) or False, default_root_dir=str(folder or ".")
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as e:  # Lightning's own check of what the user gave
        raise UserError("trainer", " ".join(str(e).split())) from e
