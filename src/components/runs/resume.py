"""``resume=`` goes on with a run. This file says what may change then. (``init_from=``, in ``init_from.py``, starts a new run from weights.)"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.compose.words import recipe_and_overrides
from components.core.errors import UserError
from components.runs import run_files, run_folder
from components.runs.metrics_file import read_rows

# settings that do not change what the run computes, or only its length, its place, its speed, or when it is looked at
ALLOWED = (
    *(f"trainer.{name}" for name in ("max_steps", "max_tokens", "max_time")),
    *(
        f"trainer.{name}"
        for name in ("devices", "num_nodes", "accelerator", "strategy", "precision", "accumulate_grad_batches")
    ),
    *(f"trainer.{name}" for name in ("log_every_n_steps", "enable_progress_bar", "profiler", "detect_anomaly")),
    *(f"task.{name}" for name in ("num_workers", "validation_every", "activation_checkpointing", "compile")),
    *(f"task.{name}" for name in ("samples", "sample_tokens", "judged_samples", "prompts")),
)
ALLOWED_GROUPS = ("logger", "callbacks", "paths", "decoding", "cache")
SPECIAL = ("resume", "init_from", "recipe")


@dataclass(frozen=True)
class Resumed:
    """The run that goes on: its folder, its checkpoint, and its config so far."""

    folder: Path
    checkpoint: Path
    config: dict[str, Any]


def split_overrides(overrides: list[str]) -> tuple[list[str], dict[str, str | None]]:
    """(overrides of the config, {"resume": ..., "init_from": ..., "recipe": ...}). These three choose where a run begins.

    A ``+`` or ``++`` before them is ignored; null becomes None.

    Raises:
        UserError: one of them is given twice, or without a value.
    """
    plain = [o.lstrip("+") if o.lstrip("+").partition("=")[0] in SPECIAL else o for o in overrides]
    recipe, plain = recipe_and_overrides(plain)
    special: dict[str, str | None] = {} if recipe is None else {"recipe": unquoted(recipe)}
    rest: list[str] = []
    for override in plain:
        key, sign, value = override.partition("=")
        if not sign or key not in SPECIAL:
            rest.append(override)
            continue
        if key in special:
            raise UserError(key, f"given twice: {special[key]}, {value}", "choose one")
        if not value:
            raise UserError(key, f"no name after {key}=", "give a run's folder, its time, a checkpoint, or null")
        special[key] = None if value == "null" else unquoted(value)
    return rest, special


def unquoted(text: str) -> str:
    """``text`` without the pair of quotes that a sweep puts around a path."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def find_resumed(name: str, overrides: list[str], runs: Path) -> Resumed:
    """The run that ``resume=name`` means.

    Raises:
        UserError: there is no such run, or an override would make it another run.
    """
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].replace("/", ".").partition("@")[0]
        if key not in ALLOWED and key.split(".")[0] not in ALLOWED_GROUPS:
            raise UserError(
                key,
                f"would make it another run; resume= may change {', '.join(n.partition('.')[2] for n in ALLOWED[:10])}, "
                f"{', '.join(ALLOWED_GROUPS)} and what is only shown",
                f"for another run from these weights: init_from={name}",
            )
    folder, checkpoint = run_folder.find_run(name, runs)
    checkpoint = checkpoint or run_folder.checkpoint_of(folder, best=False)
    for file in ("config.yaml", "run.json"):
        if not (folder / file).exists():
            raise UserError(
                f"resume={name}",
                f"{folder} is not a run folder (it has no {file})",
                f"start from the weights alone: init_from={name}",
            )
    about = run_files.read_about(folder)  # its files will be continued, so damage must be found before anything is written
    if "imported" in about:
        raise UserError(
            f"resume={name}",
            "the run was imported: it has weights, but no optimizer state",
            f"start from its weights: recipe={folder / 'config.yaml'} init_from={name}",
        )
    if (folder / "metrics.csv").exists():
        read_rows(folder / "metrics.csv")
    return Resumed(folder, checkpoint, run_files.read_config(folder))


def runs_folder(overrides: list[str], default: str = "runs") -> Path:
    """The folder of runs, before a config is composed."""
    given = [unquoted(o.partition("=")[2]) for o in overrides if o.lstrip("+").replace("/", ".").startswith("paths.runs=")]
    return Path(given[-1] if given else default).expanduser()
