"""Threads of OpenMP look for their work while the machine is free, and sleep while other processes want its cores, for as long as each lasts.

How long GNU's OpenMP looks is read once, when it is loaded. But where it has more threads than there are cores it looks a hundred times at most, so a team
of threads that does nothing is all it takes, and ending it takes that back. No result depends on either. Does not import torch before it has to.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

STAT = Path("/proc/stat")
BUSY = (0, 1, 2, 5, 6)  # of a core's line in it: user, nice, system, irq, softirq
APART = 1.0  # seconds from look to look
COMES, GOES = 0.3, 0.15  # of one core: what others take beyond what is free when threads begin to sleep, and when they stop
WORK = 1 << 17  # numbers from which torch divides an addition among its threads


def spent(cores: set[int]) -> float | None:
    """Seconds that these cores have worked since the machine began, for whomever; None where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        lines = [line.split() for line in STAT.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        of = {int(name[3:]): rest for name, *rest in lines if name != "cpu"}
        return sum(int(of[core][i]) for core in cores if core in of for i in BUSY) / os.sysconf("SC_CLK_TCK")
    return None


class IdleTeam:
    """Threads of OpenMP that do nothing until ``end``."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._idle, name="idle team", daemon=True)
        self._thread.start()

    def _idle(self) -> None:
        import torch

        torch.ones(WORK, device="cpu").add_(1)  # begins the team, which belongs to this thread
        self._over.wait()

    def end(self) -> None:
        self._over.set()
        self._thread.join()


class Watcher:
    """Looks once a second whether others want the cores of this process, in a thread of its own.

    Args:
        threads: that OpenMP has here.
        cores: that this process may use.
    """

    def __init__(self, threads: int, cores: set[int]) -> None:
        self.threads, self.cores = threads, cores
        self.team: IdleTeam | None = None
        self.last = self._now()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="company", daemon=True).start()

    def _now(self) -> tuple[float, float, float | None]:
        return time.monotonic(), time.process_time(), spent(self.cores)

    def _watch(self) -> None:
        while self.last[2] is not None:
            time.sleep(APART)
            self.look()

    def look(self) -> None:
        """Begins or ends the idle team, by what others took since the last look."""
        (then, mine_then, all_then), self.last = self.last, self._now()
        now, mine, whole = self.last
        if all_then is None or whole is None or now <= then:
            return
        others = (whole - all_then - (mine - mine_then)) / (now - then)
        beyond = others + self.threads - len(self.cores)
        if self.team is None and beyond > COMES and "torch" in sys.modules:  # a command without torch has no such threads
            self.team = IdleTeam()
        elif self.team is not None and beyond < GOES:
            self.team.end()
            self.team = None
