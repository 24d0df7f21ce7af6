"""Which loggers a run has besides metrics.csv, which is always written: ``logger=csv`` (nothing more), ``wandb``, ``tensorboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.errors import UserError, nearest

NAMES = ("csv", "none", "wandb", "tensorboard")


def make_loggers(node: dict[str, Any] | None, folder: Path | None, config: dict[str, Any], say: Any) -> list[Any]:
    """Lightning loggers for the node ``logger`` = {name, options}.

    Raises:
        UserError: an unknown name, or a library that is not installed.
    """
    options = dict(node or {})
    name = options.pop("name", "csv")
    if name in ("csv", "none"):
        return []
    if name == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        try:
            return [TensorBoardLogger(str(folder or "."), name="", version="tensorboard", default_hp_metric=False)]
        except ModuleNotFoundError:
            raise UserError(
                "logger", "tensorboard is not installed", "pip install 'lightning-components[tensorboard]'"
            ) from None
    if name == "wandb":
        try:
            from components.task.wandb import make_logger
        except ModuleNotFoundError:
            raise UserError("logger", "wandb is not installed", "pip install 'lightning-components[wandb]'") from None
        return [make_logger(options, folder, config, say)]
    raise UserError("logger", f"unknown logger {name!r}", nearest(name, NAMES, called="loggers"))
