"""Which loggers a run has besides metrics.csv, which is always written: the part of the kind ``logger`` that its config names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.extras import lacking
from components.core.makers import make, part_values
from components.runs.run_files import read_config

LIBRARY = {"wandb": ("wandb",), "tensorboard": ("tensorboard", "tensorboardX"), "mlflow": ("mlflow",)}
# variables of a logger's own that have closed lists of values; what they say is obeyed by the logger itself
ENVIRONMENT = {
    "wandb": {
        "WANDB_MODE": ("online", "offline", "disabled", "shared", "dryrun", "run"),
        "WANDB_RESUME": ("allow", "must", "never", "auto"),
    }
}


def named(node: Config | None) -> Config:
    """The node ``logger`` with the name that it means where it has none."""
    return {"name": "csv", **(node or {})}


def check_logger(node: Config | None) -> None:
    """What can be known before anything is made.

    Raises:
        UserError: an unknown name or option, a value that it does not take, or a library that is not installed.
    """
    part_values("logger", named(node))
    name = named(node)["name"]
    if name in LIBRARY and not any(find_spec(library) for library in LIBRARY[name]):
        raise lacking("logger", f"{name} is not installed", name)
    for variable, known in ENVIRONMENT.get(name, {}).items():
        if (value := os.environ.get(variable) or known[0]) not in known:
            raise UserError(variable, f"{value!r} is none of its values", f"{', '.join(known)}, or unset it")


@runtime_checkable
class ShowsExports(Protocol):
    """A logger's part that shows what was exported from a run."""

    def exported(self, checkpoint: Path, to: Path, /) -> None: ...


@runtime_checkable
class ShowsFigures(Protocol):
    """A logger's part that shows figures which were measured after the run."""

    def measured(self, figures: Mapping[str, float], /) -> None: ...


def tell_export(folder: Path, checkpoint: Path, to: Path, say: Callable[[str], None]) -> None:
    """Tell the tracker of the run in ``folder`` what was written to ``to`` from one of its checkpoints, if the run's config asks for it."""
    _tell(folder, say, lambda part: part.exported(checkpoint, to) if isinstance(part, ShowsExports) else None)


def tell_figures(folder: Path, figures: Mapping[str, float], say: Callable[[str], None]) -> None:
    """Tell the tracker of the run in ``folder`` what was measured after it."""
    _tell(folder, say, lambda part: part.measured(figures) if isinstance(part, ShowsFigures) else None)


def _tell(folder: Path, say: Callable[[str], None], what: Callable[[object], None]) -> None:
    try:
        config = read_config(folder)
        node = named(config.get("logger"))
        check_logger(node)
        what(make(node, "logger", folder=folder, config=config, say=say, step=None))
    except UserError as e:  # what was made or measured is whole; here may be no tracker
        say(f"the run's tracker was not told: {e}")


def make_loggers(
    node: Config | None, folder: Path | None, config: Config, say: Callable[[str], None], step: int | None = None
) -> list[Any]:
    """Lightning's loggers for the node ``logger`` = {name, options}, which ``check_logger`` has seen. ``step``: what the run goes on from."""
    logger = make(named(node), "logger", folder=folder, config=config, say=say, step=step).begin()
    return [] if logger is None else [logger]
