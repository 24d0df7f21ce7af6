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
from typing import Any, Protocol, runtime_checkable

from components.core import terminal, threads
from components.core.errors import UserError
from components.core.files import make_folder, open_append, write_json

FOLDER = "COMPONENTS_JOB_FOLDER"  # the run writes into this folder instead of making one
OBJECTIVE = "COMPONENTS_OBJECTIVE"  # the figure that a sweeper is to make small
COMMAND = (sys.executable, "-m", "components", "train")
_running: set[subprocess.Popen[Any]] = set()
_RANKS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "NODE_RANK",
    "COMPONENTS_RUN_FOLDER",
    "COMPONENTS_FIRST_RANK",
    "COMPONENTS_RUN_CHECKPOINT",
)


@dataclass(frozen=True)
class JobResult:
    """What came of one job. ``figures``: the run's summary, empty if it left none. ``peak_bytes``: the most host memory of its process."""

    number: int
    overrides: list[str]
    folder: Path
    exit_code: int
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    peak_bytes: int | None = None

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
    make_folder(folder)
    for old in (folder / "job.json", folder / "summary.json", folder / "output.txt"):
        old.unlink(missing_ok=True)  # of an earlier job in this folder: not to be taken for what comes of this one
    environment = {k: v for k, v in os.environ.items() if k not in _RANKS}
    environment[FOLDER] = str(folder.absolute())
    threads.of_a_job(environment, together=quiet)
    command = [*COMMAND, *overrides]
    began = time.time()
    if quiet:
        with open_append(folder / "output.txt") as out:
            code, peak = _wait(command, environment, out)
    else:
        terminal.tell("", end="")  # what stands before the job's own lines
        code, peak = _wait(command, environment, None)
    result = JobResult(number, list(overrides), folder, code, time.time() - began, read_figures(folder), peak)
    held = {**asdict(result), "folder": str(folder)}
    write_json(folder / "job.json", held)
    return result


def _wait(command: list[str], environment: dict[str, str], out: Any) -> tuple[int, int | None]:
    """The process's exit code, and the most memory it took. An interrupt reaches it too, and it is given the time to complete its folder."""
    errors = subprocess.STDOUT if out else None
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
    _running.add(process)
    try:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except KeyboardInterrupt:
        process.wait()
        raise
    except SystemExit:
        process.terminate()
        process.wait()
        raise
    finally:
        _running.discard(process)


def stop_jobs() -> None:
    """Ask every job of this process to save and stop."""
    for process in [*_running]:
        process.terminate()


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


def results_of(returned: object, sweep: Path, began: float) -> list[JobResult]:
    """What every job of this sweep left, by number; a job that left nothing has failed.

    Args:
        returned: what the sweeper hands back: Hydra's ``JobReturn`` of every job. Some sweepers hand nothing back.
        sweep: where the jobs' folders are looked for then, those written since ``began``.
        began: when the sweep began; what a reused folder holds from before is none of its results.
    """
    jobs = _returns(returned)
    if not jobs:
        files = [f for f in sweep.rglob("job.json") if f.stat().st_mtime >= began - 1]
        found = sorted((r for f in files if (r := _read(f.parent))), key=lambda r: r.number)
        if not found:
            raise UserError("--multirun", f"no job has left a result below {sweep}", "look at what the launcher said")
        return found
    results = []
    for number, job in enumerate(jobs):
        folder = Path(str(job.working_dir if job.hydra_cfg is None else job.hydra_cfg.hydra.runtime.output_dir))
        fresh = (folder / "job.json").exists() and (folder / "job.json").stat().st_mtime >= began - 1
        result = _read(folder) if fresh else None
        lost = JobResult(number, [o for o in job.overrides or () if not o.startswith("hydra.")], folder, 1, 0.0)
        results.append(result if result is not None and result.number == number else lost)
    return results


@runtime_checkable
class Job(Protocol):
    """What a launcher hands back of a job: Hydra's ``JobReturn``, or a class of its own."""

    working_dir: str | None


def _returns(returned: Any) -> list[Any]:
    """Hydra's own sweeper hands back a list for each batch of jobs."""
    if isinstance(returned, (list, tuple)):
        return [job for inner in returned for job in _returns(inner)]
    return [returned] if isinstance(returned, Job) else []


def _read(folder: Path) -> JobResult | None:
    try:
        held = json.loads((folder / "job.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None
    return JobResult(**{**held, "folder": Path(held["folder"])})


def hydra_job(config: object) -> float:
    """What Hydra's own launchers (joblib, submitit) call for each job; ``config`` is the composed one."""
    from hydra.core.hydra_config import HydraConfig

    del config  # the process composes it again from the overrides, which Hydra keeps
    hydra = HydraConfig.get()
    return run_job(int(hydra.job.num), list(hydra.overrides.task), Path(hydra.runtime.output_dir), quiet=True).objective
