"""``resume=`` goes on with a run. This file says what may change then. (``init_from=``, in ``init_from.py``, starts a new run from weights.)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.compose.grammar import Argument
from components.compose.request import Request
from components.core.errors import UserError
from components.core.paths import expanded
from components.runs import run_files, run_folder
from components.runs.metrics_file import read_rows

# settings that do not change what the run computes, or only its length, its place, its speed, or when it is looked at
ALLOWED = (
    *(f"trainer.{name}" for name in ("max_steps", "max_tokens", "max_time", "timeout")),
    *(
        f"trainer.{name}"
        for name in ("devices", "num_nodes", "accelerator", "strategy", "precision", "accumulate_grad_batches")
    ),
    *(f"trainer.{name}" for name in ("keep_last", "keep_every")),
    *(f"trainer.{name}" for name in ("log_every_n_steps", "enable_progress_bar", "profiler", "detect_anomaly")),
    *(f"task.{name}" for name in ("num_workers", "validation_every", "activation_checkpointing", "compile")),
    *(f"task.{name}" for name in ("samples", "sample_tokens", "judged_samples", "prompts")),
)
ALLOWED_GROUPS = ("logger", "callbacks", "paths", "decoding", "cache")


@dataclass(frozen=True)
class Resumed:
    """The run that goes on: its folder, its checkpoint, and its config so far."""

    folder: Path
    checkpoint: Path
    config: dict[str, Any]


def find_resumed(name: str, overrides: Iterable[Argument], runs: Path) -> Resumed:
    """The run that ``resume=name`` means.

    Raises:
        UserError: there is no such run, or an override would make it another run.
    """
    for key in (key for argument in overrides for key in argument.keys):
        if key not in ALLOWED and key.split(".")[0] not in ALLOWED_GROUPS and not key.startswith("trainer.strategy."):
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
    if made := next((word for word in ("merged", "imported") if word in about), None):
        raise UserError(
            f"resume={name}",
            f"the run was {made}: it has weights, but no optimizer state",
            f"start from its weights: recipe={folder / 'config.yaml'} init_from={name}",
        )
    if (folder / "metrics.csv").exists():
        read_rows(folder / "metrics.csv")
    return Resumed(folder, checkpoint, run_files.read_config(folder))


def runs_folder(request: Request) -> Path:
    """The folder of runs, before a config is composed."""
    return expanded(request.path("paths.runs") or "runs", "paths.runs")
