"""SLURM: a requeued job goes on with its run, from the same command.

Everything is read from the environment; outside SLURM nothing happens. A run remembers the job that it began in, and the same command in the
same job finds it again. So a batch script of several commands skips the finished ones and goes on with the one that was stopped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from components.core.errors import UserError
from components.runs import run_files, run_folder


class SlurmJob(TypedDict):
    """A job of SLURM, as run.json keeps it."""

    id: str  # of the job, or of the array's task
    restarts: int  # how often it was queued again


def job() -> SlurmJob | None:
    """The job that this process is in; None outside of one."""
    array, own = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID", "")
    if array is not None:
        own = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch(r"\d+(_\d+)?", own):
        return None
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    return {"id": own, "restarts": int(restarts) if restarts.isdecimal() else 0}


def begun_here(runs: Path) -> tuple[Path, bool] | None:
    """(the newest run that this command began in this job, whether it is finished); None if a new run is wanted.

    A run of an earlier start of the job goes on, or is finished. A run of this start goes on only if a signal stopped it; otherwise the
    command was typed again, which asks for another run.
    """
    here = job()
    if here is None or os.environ.get(run_folder.JOB_FOLDER):
        return None
    for folder in reversed(run_folder.all_runs(runs)):
        try:
            about, state = run_files.read_about(folder), run_files.read_summary(folder).get("state")
        except UserError:
            continue
        known = about.get("job")
        if not isinstance(known, dict) or known.get("id") != here["id"] or about.get("command") != sys.argv:
            continue
        restarts = known.get("restarts")
        earlier = isinstance(restarts, int) and restarts < here["restarts"]
        if state in run_files.DONE:
            return (folder, True) if earlier else None
        there = run_folder.last_of(folder).exists()
        return (folder, False) if there and (earlier or state == "preempted") else None
    return None


def requeue(say: Callable[[str], None]) -> None:
    """Ask SLURM to requeue this job. Everything must be saved before, since SLURM may end the job at once."""
    here = job()
    if here is None:
        return
    try:
        done = subprocess.run(["scontrol", "requeue", here["id"]], capture_output=True, text=True, timeout=60)
        fault = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as e:
        fault = f"scontrol: {(e.strerror if isinstance(e, OSError) else None) or 'no answer'}"
    say(
        f"job {here['id']} is not queued again ({fault}): scontrol requeue {here['id']}"
        if fault
        else f"job {here['id']} is queued again"
    )
