"""One job of a sweep: a process of its own with a folder of its own, whatever launcher starts it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "COMPONENTS_JOB_FOLDER"  # the run writes into this folder instead of making one
OBJECTIVE = "COMPONENTS_OBJECTIVE"  # the figure that a sweeper is to make small
COMMAND = (sys.executable, "-m", "components", "train")
_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "COMPONENTS_RUN_FOLDER")


@dataclass(frozen=True)
class JobResult:
    """What came of one job. ``figures``: the run's summary, empty if it left none."""

    number: int
    overrides: list[str]
    folder: Path
    exit_code: int
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def objective(self) -> float:
        """The final validation loss (or what ``$COMPONENTS_OBJECTIVE`` names); not a number for a job that failed."""
        value = self.figures.get(os.environ.get(OBJECTIVE, "val_loss"))
        return float(value) if self.exit_code == 0 and isinstance(value, (int, float)) else math.nan


def run_job(number: int, overrides: Sequence[str], folder: Path, *, quiet: bool = False) -> JobResult:
    """``components train <overrides>`` in its own process. A job that fails is a result, not an exception.

    Args:
        number: of the job in its sweep.
        overrides: as on the command line.
        folder: the run's; ``job.json`` is written there too.
        quiet: what the job prints goes to ``output.txt`` in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k not in _RANKS}
    environment[FOLDER] = str(folder.absolute())
    command = [*COMMAND, *overrides]
    began = time.time()
    if quiet:
        with (folder / "output.txt").open("w", encoding="utf8") as out:
            code = _wait(command, environment, out)
    else:
        sys.stdout.flush()
        code = _wait(command, environment, None)
    result = JobResult(number, list(overrides), folder, code, time.time() - began, read_figures(folder))
    held = {**asdict(result), "folder": str(folder)}
    (folder / "job.json").write_text(json.dumps(held, indent=1), encoding="utf8")
    return result


def _wait(command: list[str], environment: dict[str, str], out: Any) -> int:
    """The process's exit code. An interrupt reaches it too, and it is given the time to complete its folder."""
    errors = subprocess.STDOUT if out else None
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def differing(results: Sequence[JobResult]) -> list[list[str]]:
    """For each job the overrides that not all jobs have: what the sweep is about, for tables."""
    common = set(results[0].overrides).intersection(*(r.overrides for r in results)) if len(results) > 1 else set()
    return [[o for o in r.overrides if o not in common] for r in results]


def read_figures(folder: Path) -> dict[str, Any]:
    """The run's ``summary.json``; empty where there is none."""
    try:
        return json.loads((folder / "summary.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}


def read_results(sweep: Path) -> list[JobResult]:
    """What every job of a sweep left, by number."""
    found = []
    for file in sweep.glob("*/job.json"):
        held = json.loads(file.read_text(encoding="utf8"))
        found.append(JobResult(**{**held, "folder": Path(held["folder"])}))
    return sorted(found, key=lambda r: r.number)


def hydra_job(config: Any) -> float:
    """What Hydra's own launchers (joblib, submitit) call for each job; ``config`` is the composed one."""
    from hydra.core.hydra_config import HydraConfig

    del config  # the process composes it again from the overrides, which Hydra keeps
    hydra = HydraConfig.get()
    return run_job(int(hydra.job.num), list(hydra.overrides.task), Path(hydra.runtime.output_dir), quiet=True).objective
