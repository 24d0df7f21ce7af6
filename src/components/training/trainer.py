"""Lightning's Trainer as a run uses it: the user's arguments; order of data, saving and the bar are ours."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from components.core.errors import UserError
from components.training import limits
from components.training.strategies import strategy_of

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
    arguments.update(
        enable_progress_bar=False, enable_checkpointing=False, profiler=profiler_of(arguments.get("profiler"), folder)
    )
    if arguments.get("min_steps") and arguments.get("min_epochs") is None:
        arguments["min_epochs"] = 0  # Lightning's own would be a whole epoch besides
    if arguments.get("enable_model_summary"):
        let_summary_speak()
    try:
        return Trainer(
            **arguments, callbacks=list(callbacks), logger=list(loggers) or False, default_root_dir=str(folder or ".")
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as e:  # Lightning's own check of what the user gave
        raise UserError("trainer", " ".join(str(e).split())) from e


def let_summary_speak() -> None:
    """Lightning tells the summary by a logger that is silent here."""
    logger = logging.getLogger("lightning.pytorch.callbacks.model_summary")
    logger.setLevel(logging.INFO)
    logger.handlers, logger.propagate = [logging.StreamHandler()], False


def profiler_of(name: str | None, folder: Path | None) -> Any:
    """Lightning's profiler that leaves its report in the run's folder, as ``fit-profile.txt`` and of PyTorch's also a trace for a browser.

    None where none is asked for, and on ranks that write nothing.
    """
    made = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    return None if name is None or folder is None else made[name](dirpath=folder, filename="profile")
