"""What of a config belongs to no part's signature, checked in one place: trainer, seed, logger, callbacks, paths, shares, rows.

Imports no Lightning and reads no data: ``components validate`` asks the same as a run that starts.
"""

from __future__ import annotations

import glob
from pathlib import Path

from components.core import registry
from components.core.config_types import Config, part_name
from components.core.errors import UserError, nearest
from components.core.makers import part_values
from components.core.micro_batches import rows_each
from components.core.option_types import parse_type
from components.training.callbacks import check_callbacks
from components.training.devices import count_devices, readers
from components.training.limits import trainer_settings
from components.training.loggers import check_logger

PATHS = {
    "runs": "str | None",
    "cache": "Path | None",
}  # runs is text: PyTorch opens no checkpoint below a folder whose name is none
HINT = "a path on the command line is relative to this folder, one in a recipe's file to that file's"
LARGEST_SEED = 2**32 - 1  # numpy takes no larger one


def check_settings(config: Config) -> Config:
    """The trainer's settings, after a look at everything that can be known from the config alone.

    Raises:
        UserError: the first value that cannot be trained with.
    """
    seed = config.get("seed")
    if seed is None or parse_type("NonNegative").fault(seed) or seed > LARGEST_SEED:
        raise UserError("seed", f"{seed!r} is no number from 0 to {LARGEST_SEED}")
    for name in ("trainer", "logger", "callbacks", "paths"):
        if not isinstance(config.get(name) or {}, dict):
            raise UserError(name, f"{config[name]!r} is no group of values")
    settings = trainer_settings(config.get("trainer") or {})
    for name, value in (config.get("paths") or {}).items():
        if name not in PATHS:
            raise UserError(f"paths.{name}", f"there is no path {name!r}", nearest(name, PATHS, called="paths"))
        if fault := parse_type(PATHS[name]).fault(value):
            said = fault if isinstance(value, str) else f"{value!r} is no path"
            raise UserError(f"paths.{name}", said, f"write text: paths.{name}=folder")
    check_logger(config.get("logger"))
    check_callbacks(config.get("callbacks"), logger=(config.get("logger") or {}).get("name", "csv"))
    check_task(config, settings)
    return settings


def check_task(config: Config, settings: Config) -> None:
    """Shares that leave something to train on, and rows that divide among micro-batches and the devices that are named."""
    options = part_values("task", config["task"])
    validation, test = options.get("validation_fraction", 0.0), options.get("test_fraction", 0.0)
    if validation + test >= 1:
        raise UserError(
            "task.validation_fraction",
            f"{validation:g} and task.test_fraction {test:g} leave nothing to train on",
            "their sum is below 1",
        )
    if validation == 0 and (config.get("callbacks") or {}).get("early_stopping"):
        raise UserError(
            "callbacks.early_stopping", "it watches validation, and there is none", "set task.validation_fraction above 0"
        )
    if settings.get("limit_val_batches") == 0 and (config.get("callbacks") or {}).get("early_stopping"):
        raise UserError("callbacks.early_stopping", "it watches validation, and trainer.limit_val_batches=0 leaves it out")
    rows, tokens = options.get("batch_size"), options.get("batch_tokens")
    context = config["model"].get("context_length")
    if tokens is not None:
        rows = max(1, tokens // context) if isinstance(context, int) else None
    ranks = (count_devices(settings.get("devices")) or 1) * (settings.get("num_nodes") or 1)
    if rows is not None:
        rows_each(rows, settings.get("accumulate_grad_batches") or 1, readers(settings, ranks))


def check_paths(node: object, where: str = "data") -> None:
    """UserError where the data are to be read from a path at which nothing is; parts inside of parts too."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        check_paths(value, f"{where}.{key}")
    if not isinstance(node, dict) or "name" not in node:
        return
    options = registry.entry("data", part_name(node)).signature.options
    for name in (n for n in node if n in options and "path" in options[n].type.bases and node[n] is not None):
        if not Path(node[name]).exists() and not glob.glob(node[name], recursive=True):
            raise UserError(f"{where}.{name}", f"{node[name]}: there is no such file or folder", HINT)
