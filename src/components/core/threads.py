"""How threads of OpenMP wait for one another, by what is free on the machine. Does not import torch: OpenMP reads its settings when torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from components.core import company

# A thread that waits looks so many times before it sleeps. Measured on two cores with the default recipe: alone 10,000 is 4 % faster than 0; beside one
# busy process 10,000 leaves 0.23 of the speed and 0 leaves 0.74, since a thread that looks keeps the core from the one it waits for. Where waking a thread
# takes longer (a virtual machine of two cores) 0 is 36 % slower alone, 3,000 still 5 %, and 10,000 leaves 0.2 and 0 leaves 0.55.
# So they look, and sleep while somebody else wants the cores (company.py). Where there are more threads than cores GNU's OpenMP looks a hundred times, which
# are 5 % of the speed then, and not once where its policy is passive. With a count of its own the policy says nothing else.
ALONE, SHARED, PASSIVE = "10000", "0", "passive"
LOOKED = "looks, then asleep"
GIVEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # of a process
OURS = "COMPONENTS_SPINCOUNT"  # says to processes that this one starts which values are no user's
TELLS_OF_CORES = hasattr(os, "sched_getaffinity")  # the system says which a process may use

settled = ""  # what was chosen for this process, and why


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if TELLS_OF_CORES else os.cpu_count() or 1


@contextmanager
def of_each(count: int | None) -> Iterator[None]:
    """So many threads for each process that is started inside, unless the environment says otherwise; None: as many as it likes."""
    added = [name for name in COUNTS if count is not None and name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(count)))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def shown(each: int) -> str:
    """How many threads ``of_each`` comes to."""
    given = os.environ.get(COUNTS[0], str(each))
    return f"{given} thread" if given == "1" else f"{given} threads"


def of_a_job(environment: dict[str, str], *, together: bool) -> None:
    """What a job inherits: where this process chose, a job that has company sleeps, and one that is alone looks for itself."""
    if LOOKED in settled:
        for name in GIVEN:
            environment.pop(name, None)
        if together:
            environment["GOMP_SPINCOUNT"] = SHARED


def gnus() -> bool:
    """Whether torch brings GNU's OpenMP with it, as its wheels for Linux do."""
    spec = find_spec("torch")
    return spec is not None and spec.origin is not None and any((Path(spec.origin).parent / "lib").glob("libgomp*"))


def settle() -> None:
    """Choose how threads wait, for this process and those that it starts, unless the user has. Call it before torch is imported."""
    global settled
    if settled:
        return
    if os.environ.get("OMP_NUM_THREADS") == "1":
        settled = "OMP_NUM_THREADS=1: one thread waits for none"
    elif given := [
        f"{n}={os.environ[n]}" for n in GIVEN if n in os.environ and os.environ[n] not in os.environ.get(OURS, "").split()
    ]:
        settled = f"as the environment says: {' '.join(given)}"
    else:
        os.environ["GOMP_SPINCOUNT"], os.environ[OURS] = ALONE, f"{ALONE} {PASSIVE}"
        watched = company.spent({0}) is not None and TELLS_OF_CORES
        why = "asleep at once while other processes want the cores" if watched else "the system does not say what else runs"
        settled = f"{ALONE} {LOOKED}: {why}"
        if watched:
            if gnus():  # another OpenMP would take the policy for a wish to sleep at once
                os.environ["OMP_WAIT_POLICY"] = PASSIVE
            given_threads = os.environ.get("OMP_NUM_THREADS", "")
            company.Watcher(int(given_threads) if given_threads.isdecimal() else cores(), os.sched_getaffinity(0)).start()
