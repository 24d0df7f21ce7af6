"""Lightning's Trainer from settings that have been checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Trainer

from components.core.makers import make
from components.training.limits import PART


def make_trainer(
    settings: Mapping[str, object],
    every: int,
    steps: int,
    *,
    folder: Path | None = None,
    loggers: object = (),
    callbacks: object = (),
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
    node = {"name": PART, **settings}
    return make(node, "trainer", every=every, steps=steps, folder=folder, loggers=loggers, callbacks=callbacks)
