"""Reading the files of a run folder. Their structure is checked, so a damaged file is a one-line error wherever it is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from components.compose.yaml_files import MOST as MOST_YAML
from components.compose.yaml_files import parse_yaml
from components.core.config_types import Config
from components.core.content import MOST, mapping
from components.core.errors import UserError
from components.core.files import read_json, read_text

DONE = ("finished", "stopped early")  # the states of a complete run
NODES = ("model", "tokenizer", "data", "task", "loss", "optimizer", "schedule", "decoding", "cache")

Figures = dict[str, float | str | None]  # the final figures of a run, and its state


class DataOf(TypedDict):
    """What a run has read: a hash of all of it, and lines of how it was cleaned."""

    hash: str
    report: list[str]


class About(TypedDict):
    """run.json: how a run began, and each time that it went on."""

    began: float  # seconds since 1970
    recipe: NotRequired[str]
    data: NotRequired[DataOf]
    command: NotRequired[list[str]]
    difference: NotRequired[list[str]]
    resumed: NotRequired[list[dict[str, object]]]
    job: NotRequired[dict[str, object] | None]  # of SLURM
    imported: NotRequired[str]
    merged: NotRequired[dict[str, object]]  # how, and from which runs


def read_config(folder: Path) -> Config:
    """config.yaml: the spelled-out config.

    Raises:
        UserError: it is missing or damaged. Without it nobody knows what the run was.
    """
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError(str(folder), "has no config.yaml", "give a run folder or a checkpoint")
    return check_config(parse_yaml(read_text(file, most=MOST_YAML), str(file)), str(file))


def has_tracker(folder: Path) -> bool:
    """Whether the run in ``folder`` has a logger beside metrics.csv; False where there is a checkpoint alone."""
    return (folder / "config.yaml").exists() and (read_config(folder).get("logger") or {}).get("name", "csv") != "csv"


def check_config(config: object, where: str) -> Config:
    """``config``, if it has all nodes of a run. A missing one would silently be filled in from the defaults.

    Raises:
        UserError: a node is missing.
    """
    if not isinstance(config, dict):
        raise UserError(where, "is damaged: it holds no config", "start anew with recipe=")
    nodes = [n for n in NODES if not (isinstance(config.get(n), dict) and isinstance(config[n].get("name"), str))]
    missing = [*nodes, *([] if isinstance(config.get("trainer"), dict) else ["trainer"])]
    if missing:
        raise UserError(where, f"is damaged: it lacks {', '.join(missing)}", "start anew with recipe=")
    return config


def read_about(folder: Path) -> About:
    """run.json: how the run began. UserError if it is missing or damaged."""
    file = folder / "run.json"
    if not file.exists():
        raise UserError(str(folder), "has no run.json", "give a run folder")
    about = _mapping(file)
    if not _number(about.get("began")):
        raise UserError(str(file), "is damaged: it does not say when the run began")
    for name, of in (("difference", str), ("resumed", dict)):
        held = about.get(name, [])
        if not isinstance(held, list) or not all(isinstance(one, of) for one in held):
            raise UserError(str(file), f"is damaged: {name} is not a list of {'texts' if of is str else 'mappings'}")
    return cast(About, about)


def read_summary(folder: Path) -> Figures:
    """summary.json: the final figures, empty while a run is going on or if it was killed. UserError if it is damaged."""
    file = folder / "summary.json"
    return cast(Figures, _mapping(file)) if file.exists() else {}


def _mapping(file: Path) -> dict[str, object]:
    held = read_json(file, most=MOST)
    if not isinstance(held, dict):
        raise UserError(str(file), "is damaged: it does not hold a mapping")
    return mapping(held, str(file))


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
