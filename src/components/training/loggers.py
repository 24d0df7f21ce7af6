"""Which loggers a run has besides metrics.csv, which is always written: ``logger=csv`` (nothing more), ``wandb``, ``tensorboard``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.core.errors import UserError, nearest
from components.core.option_types import parse_type

NAMES = ("csv", "wandb", "tensorboard")
LIBRARY = {"wandb": ("wandb",), "tensorboard": ("tensorboard", "tensorboardX")}
# variables of a logger's own that have closed lists of values; what they say is obeyed by the logger itself
ENVIRONMENT = {
    "wandb": {
        "WANDB_MODE": ("online", "offline", "disabled", "shared", "dryrun", "run"),
        "WANDB_RESUME": ("allow", "must", "never", "auto"),
    }
}
OPTIONS: dict[str, dict[str, str]] = {
    "csv": {},
    "tensorboard": {},
    "wandb": {
        **dict.fromkeys(("project", "entity", "group", "notes"), "str | None"),
        "tags": "list[str] | None",
        "mode": "Literal['online', 'offline', 'disabled'] | None",
        "init_timeout": "PositiveFloat | None",
        "checkpoint": "bool | None",
    },
}


def check_logger(node: dict[str, Any] | None) -> None:
    """What can be known before anything is made.

    Raises:
        UserError: an unknown name or option, a value that it does not take, or a library that is not installed.
    """
    options = dict(node or {})
    name = options.pop("name", "csv")
    if name not in NAMES:
        raise UserError("logger", f"unknown logger {name!r}", nearest(name, NAMES, called="loggers"))
    if name in LIBRARY and not any(find_spec(library) for library in LIBRARY[name]):
        raise UserError("logger", f"{name} is not installed", f"pip install 'lightning-components[{name}]'")
    for option, value in options.items():
        if option not in OPTIONS[name]:
            raise UserError(
                f"logger.{option}", f"{name} has no option {option!r}", nearest(option, OPTIONS[name], called="options")
            )
        fault = parse_type(OPTIONS[name][option]).fault(value)
        if fault:
            raise UserError(f"logger.{option}", fault)
    for variable, known in ENVIRONMENT.get(name, {}).items():
        if (value := os.environ.get(variable) or known[0]) not in known:
            raise UserError(variable, f"{value!r} is none of its values", f"{', '.join(known)}, or unset it")


def make_loggers(node: dict[str, Any] | None, folder: Path | None, config: dict[str, Any], say: Any) -> list[Any]:
    """Lightning loggers for the node ``logger`` = {name, options}, which ``check_logger`` has seen."""
    options = dict(node or {})
    name = options.pop("name", "csv")
    if name == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        return [TensorBoardLogger(str(folder or "."), name="", version="tensorboard", default_hp_metric=False)]
    if name == "wandb":
        from components.training.wandb import make_logger

        return [make_logger(options, folder, config, say)]
    return []
