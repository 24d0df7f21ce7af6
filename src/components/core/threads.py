"""How threads of OpenMP wait for one another, by what is free on the machine. Does not import torch: OpenMP reads its settings when torch is loaded."""

from __future__ import annotations

import os

from components.core import company

# A thread that waits looks so many times before it sleeps. Measured on two cores with the default recipe: alone 10,000 is 4 % faster than 0; beside one
# busy process 10,000 leaves 0.23 of the speed and 0 leaves 0.74, since a thread that looks keeps the core from the one it waits for. Where waking a thread
# takes longer (a virtual machine of two cores) 0 is 36 % slower alone, 3,000 still 5 %, and 10,000 leaves 0.2 and 0 leaves 0.55.
# So they look, and sleep while somebody else wants the cores (company.py).
ALONE, SHARED = "10000", "0"
LOOKED = "looks, then asleep"
GIVEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
OURS = "COMPONENTS_SPINCOUNT"  # says to processes that this one starts that the count is no user's

settled = ""  # what was chosen for this process, and why


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    elif given := [f"{n}={os.environ[n]}" for n in GIVEN if n in os.environ and os.environ[n] != os.environ.get(OURS)]:
        settled = f"as the environment says: {' '.join(given)}"
    else:
        os.environ["GOMP_SPINCOUNT"] = os.environ[OURS] = ALONE
        watched = company.spent({0}) is not None and hasattr(os, "sched_getaffinity")
        why = "asleep at once while other processes want the cores" if watched else "the system does not say what else runs"
        settled = f"{ALONE} {LOOKED}: {why}"
        if watched:
            given_threads = os.environ.get("OMP_NUM_THREADS", "")
            company.Watcher(int(given_threads) if given_threads.isdecimal() else cores(), os.sched_getaffinity(0)).start()
