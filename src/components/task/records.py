"""What a run folder's files say, read with a look at their shape: a damaged file is one line, wherever it is met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from components.errors import UserError

NODES = ("model", "tokenizer", "data", "task", "loss", "optimizer", "schedule", "decoding", "cache")


def read_config(folder: Path) -> dict[str, Any]:
    """config.yaml: the spelled-out config.

    Raises:
        UserError: there is none, or it is damaged. Without it nobody knows what the run was.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(str(folder), "has no config.yaml", "give a run folder or a checkpoint")
    try:
        config = yaml.safe_load(_text(file))
    except yaml.YAMLError as e:
        raise UserError(str(file), f"is no YAML ({str(e).splitlines()[0]})") from None
    return check_config(config, str(file))


def check_config(config: Any, where: str) -> dict[str, Any]:
    """``config``, if it has every node of a run and the trainer's values: what is missing would be taken from the defaults."""
    if not isinstance(config, dict):
        raise UserError(where, "is damaged: it holds no config", "start anew with recipe=")
    nodes = [n for n in NODES if not (isinstance(config.get(n), dict) and isinstance(config[n].get("name"), str))]
    missing = [*nodes, *([] if isinstance(config.get("trainer"), dict) else ["trainer"])]
    if missing:
        raise UserError(where, f"is damaged: it lacks {', '.join(missing)}", "start anew with recipe=")
    return config


def read_about(folder: Path) -> dict[str, Any]:
    """run.json: how the run began. UserError if there is none, or it is damaged."""
    file = folder / "run.json"
    if not file.is_file():
        raise UserError(str(folder), "has no run.json", "give a run folder")
    about = _json(file)
    if not _number(about.get("began")):
        raise UserError(str(file), "is damaged: it does not say when the run began")
    for name in ("difference", "resumed"):
        if not isinstance(about.get(name, []), list):
            raise UserError(str(file), f"is damaged: {name} is no list")
    return about


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json: the final figures; empty of a run that is going on or was killed. UserError if it is damaged."""
    file = folder / "summary.json"
    return _json(file) if file.exists() else {}


def _json(file: Path) -> dict[str, Any]:
    try:
        held = json.loads(_text(file))
    except ValueError as e:
        if isinstance(e, UserError):
            raise
        raise UserError(str(file), f"is no JSON ({e})") from None
    if not isinstance(held, dict):
        raise UserError(str(file), "is damaged: it holds no mapping")
    return held


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf8")
    except UnicodeDecodeError:
        raise UserError(str(file), "is damaged: it is no UTF-8 text") from None
    except OSError as e:
        raise UserError(str(file), f"cannot be read ({e.strerror})") from None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
