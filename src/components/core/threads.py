"""How threads of OpenMP wait for one another, by what is free on the machine. Does not import torch: OpenMP reads its settings when torch is loaded."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

# A thread that waits looks so many times before it sleeps. Measured on two cores with the default recipe: alone 10,000 is 4 % faster than 0; beside one
# busy process 10,000 leaves 0.23 of the speed and 0 leaves 0.74, since a thread that looks keeps the core from the one it waits for. Where waking a thread
# takes longer (a virtual machine of two cores) 0 is 36 % slower alone, 3,000 still 5 %, and 10,000 leaves 0.2 and 0 leaves 0.55.
ALONE, SHARED = "10000", "0"
LOOKS, APART = 5, 0.001  # how often the machine is asked how many processes run, and seconds between
LOOKED = "looks, then asleep"
GIVEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
STAT = Path("/proc/stat")

settled = ""  # what was chosen for this process, and why


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def others() -> int | None:
    """How many other processes and threads want a core now, the median of a few looks; None where the system does not say."""
    seen = []
    with suppress(OSError, StopIteration, ValueError):
        for look in range(LOOKS):
            time.sleep(APART if look else 0.0)
            line = next(x for x in STAT.read_text().splitlines() if x.startswith("procs_running "))
            seen.append(int(line.split()[1]) - 1)  # this one runs too
    return sorted(seen)[len(seen) // 2] if seen else None  # the module statistics would cost a tenth of a quick command


def waiting() -> tuple[str, str]:
    """(looks before a thread sleeps, why)."""
    busy, there = others(), cores()
    if busy is None:
        return ALONE, "the system does not say what else runs"
    if busy > 0:
        return SHARED, f"{busy} other processes want one of {there} cores"
    return ALONE, f"nothing else runs on {there} cores"


def of_a_job(environment: dict[str, str], *, together: bool) -> None:
    """What a job inherits: where this process chose, a job that has company sleeps, and one that is alone looks for itself."""
    if LOOKED in settled:
        environment.pop("GOMP_SPINCOUNT", None)
        if together:
            environment["GOMP_SPINCOUNT"] = SHARED


def settle() -> None:
    """Choose how threads wait, for this process and those that it starts, unless the user has. Call it before torch is imported."""
    global settled
    if settled:
        return
    if os.environ.get("OMP_NUM_THREADS") == "1":
        settled = "OMP_NUM_THREADS=1: one thread waits for none"
    elif given := [f"{name}={os.environ[name]}" for name in GIVEN if name in os.environ]:
        settled = f"as the environment says: {' '.join(given)}"
    else:
        os.environ["GOMP_SPINCOUNT"], why = waiting()
        settled = f"{os.environ['GOMP_SPINCOUNT']} {LOOKED}: {why}"
