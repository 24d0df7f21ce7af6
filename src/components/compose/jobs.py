"""One job of a sweep: a process of its own with a folder of its own, whatever launcher starts it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from components.core import terminal, threads
from components.core.errors import UserError
from components.core.files import make_folder, open_append, write_json

FOLDER = "COMPONENTS_JOB_FOLDER"  # the run writes into this folder instead of making one
OBJECTIVE = "COMPONENTS_OBJECTIVE"  # the figure that a sweeper is to make small
COMMAND = (sys.executable, "-m", "components", "train")
TAIL = 2**16  # bytes
KEPT, LATE = 100, 2.0  # lines of a job's errors; seconds that a process which the job left behind may still hold them
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
    """What came of one job.

    Args:
        number, overrides, folder, exit_code, seconds: of the job.
        figures: the run's summary, empty if it left none.
        peak_bytes: the most host memory of its process.
        error: the last line in which it said why it ended, where it has failed.
    """

    number: int
    overrides: list[str]
    folder: Path
    exit_code: int
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    peak_bytes: int | None = None
    error: str | None = None

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
        said = last_lines(folder / "output.txt") if code else []
    else:
        terminal.tell("", end="")  # what stands before the job's own lines
        said = []
        code, peak = _wait(command, environment, said)
    error = None if code == 0 else ended_by(code) if code < 0 else last_words(said) or ended_by(code)
    result = JobResult(number, list(overrides), folder, code, time.time() - began, read_figures(folder), peak, error)
    held = {**asdict(result), "folder": str(folder)}
    write_json(folder / "job.json", held)
    return result


def last_lines(output: Path) -> list[str]:
    """The end of what a job printed; nothing where there is no such file."""
    if not output.is_file():
        return []
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - TAIL))
        return file.read().decode(errors="replace").splitlines()


def last_words(lines: Sequence[str]) -> str:
    """The line in which a run says why it ended: the last error, else the last line; empty where there is none."""
    said = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line.strip()]
    return said[-1].removeprefix("error: ").strip() if said else ""


def ended_by(code: int) -> str:
    """What an exit code alone says."""
    killed = "; its memory may have run out" if code == -9 else ""
    return f"signal {-code} ended it{killed}" if code < 0 else f"it ended with exit code {code}, and left no word"


def _wait(command: list[str], environment: dict[str, str], out: BinaryIO | list[str]) -> tuple[int, int | None]:
    """The process's exit code, and the most memory it took. An interrupt reaches it too, and it is given the time to complete its folder.

    ``out``: a file for all that it prints; or a list, which gets the lines of its errors while they are printed here.
    """
    told = isinstance(out, list)
    streams = {"stderr": subprocess.PIPE} if told else {"stdout": out, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **streams)  # type: ignore[call-overload]  # of both kinds
    heard = threading.Thread(target=_pass_on, args=(process.stderr, out), daemon=True) if told else None
    _running.add(process)
    try:
        if heard is not None:
            heard.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if heard is not None:
            heard.join(LATE)
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


def _pass_on(errors: BinaryIO, lines: list[str]) -> None:
    """Print what a job says of errors, and keep its last lines."""
    for line in errors:
        text = line.decode(errors="replace")
        terminal.complain(text, end="")
        lines.append(text.rstrip("\n"))
        del lines[:-KEPT]


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
