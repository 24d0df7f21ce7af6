"""Notices lost ranks and SIGTERM while the main thread waits for other ranks inside a collective.

Python runs signal handlers only between its own instructions, and there are none inside such a wait. So a thread checks once a second, and
ends the process with a one-line error if nothing else will.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core import terminal
from components.core.errors import UserError
from components.training.missing import RankLost, place_in

if TYPE_CHECKING:
    from components.training.beats import Beats

FIRST = "COMPONENTS_FIRST_RANK"  # process id of the rank that started this one
EVERY = 1.0  # seconds between two checks
GRACE = 10.0  # seconds that the main thread has to notice a lost rank by itself and complete the run's folder
PATIENCE = 60.0  # seconds without progress of the main thread after which SIGTERM ends the process
BUSY = 0.2  # a process that uses more than this share of a processor is not waiting
EXIT_TRY_AGAIN = 75  # exit code of a rank that was asked to stop
SAY_STOPPED = 30.0  # seconds after which a stopped rank is reported
ENDED_BY_SIGTERM = 128 + signal.SIGTERM


_woken = False  # a signal wakes the thread at once, through a socket that forked processes would share


def _forked() -> None:
    """A forked reader of data must not pass its signals to this process."""
    if _woken:
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Watch(threading.Thread):
    """Watches the ranks that this one has started (``children``), or the one that has started it.

    Args:
        parent: process id of the first rank; None in the first rank, or if ranks were started from outside.
    """

    def __init__(self, parent: int | None = None) -> None:
        super().__init__(name="watch", daemon=True)
        self.parent, self.patience = parent, PATIENCE
        self.children: list[subprocess.Popen[Any]] = []
        self.folder: Path | None = None  # the run's
        self.complete: Callable[[], object] | None = None  # completes the run's folder as that of a failed run
        self.quiet = False
        self.beats: Beats | None = None  # what all ranks were last seen at
        self.progress: Callable[[], Any] = lambda: None  # changes with each batch
        self.works = True  # processor time tells work from waiting; False where waiting for a device uses processor time too
        self._main = threading.main_thread()
        self._ending = threading.RLock()
        self._before: int | None = None
        self._lost_since = self._asked = self._stopped_since = None
        self._seen: tuple[Any, float, float] | None = None  # where the main thread was, when, and its processor time

    def start(self) -> None:
        global _woken
        self._here, self._there = socket.socketpair()
        for end in (self._here, self._there):
            end.setblocking(False)
        if threading.current_thread() is self._main:
            self._before = signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)
            _woken = True
        super().start()

    def stop(self) -> None:
        """Stop watching."""
        global _woken
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
            self._before, _woken = None, False
        if self.is_alive():
            self._there.send(b"\0")
            self.join(5 * EVERY)

    def run(self) -> None:
        while True:
            came = b""
            if select.select([self._here], [], [], EVERY)[0]:
                came = self._here.recv(64)
            if b"\0" in came:
                return
            if signal.SIGTERM in came:
                self._asked = time.monotonic()
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        if self.parent is not None and os.getppid() != self.parent:
            self._end(f"the first rank (process {self.parent})", "has gone", 1)
        if (lost := self.lost()) is not None:
            self._lost_since = self._lost_since or now
            # if all were asked to stop, they have saved, and this one is completing the folder
            stopped = all(p.returncode in (None, 0, EXIT_TRY_AGAIN) for p in self.children)
            if now - self._lost_since > (self.patience if stopped else GRACE):
                self._end(*lost, 1)
        if self._asked is not None and not self._moves(now):
            self._end(
                "SIGTERM",
                f"nothing has moved for {self.patience:g} s in {self._place()}: another rank does not answer",
                ENDED_BY_SIGTERM,
            )
        self._say_stopped(now)

    @property
    def goes_on(self) -> str:
        """What the user can do next."""
        if self.folder is None and self.beats is not None:  # only the first rank knows it
            return "resume=auto goes on from the last checkpoint, if there is one"
        if self.folder is None or not (self.folder / "checkpoints" / "last.ckpt").exists():
            return "start the run again"
        return f"resume={self.folder} goes on from its last checkpoint"

    # -- what has happened -------------------------------------------------------------------------------------------

    def lost(self) -> tuple[str, str] | None:
        """(which rank, how it ended) of a failed child. A rank that was killed comes before one that gave up."""
        ended = [(code, rank, p.pid) for rank, p in enumerate(self.children, start=1) if (code := p.poll())]
        if not ended:
            return None
        code, rank, pid = min(ended)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"has ended with code {code}"
        return f"rank {rank} (process {pid})", how + (self.beats.seen(rank) if self.beats is not None else "")

    def explained(self, error: BaseException) -> UserError | None:
        """The lost rank, or the taken port, behind an error of torch.distributed; None for other errors."""
        from torch.distributed import DistError

        text = str(error)
        if isinstance(error, DistError) and "EADDRINUSE" in text:
            port = os.environ.get("MASTER_PORT")
            return UserError(
                "MASTER_PORT", f"another process has port {port}", "set another; on one machine none needs to be set"
            )
        if not (isinstance(error, DistError) or "gloo" in text.lower() or "nccl" in text.lower()):
            return None
        # connections break a moment before a process is seen to be gone
        until = time.monotonic() + (3 * EVERY if self.children or self.parent else 0.0)
        while (found := self.lost()) is None and not self.orphan() and time.monotonic() < until:
            time.sleep(0.1)
        if found is None and self.orphan():
            found = f"the first rank (process {self.parent})", "has gone"
        if found is None and (stopped := self._stopped()):
            lost = RankLost(stopped, "is stopped and does not answer", self.goes_on)
            lost.stands = True
            return lost
        waited = "timed out" in text.lower()
        if found is None and self.beats and (missing := self.beats.missing(waited=waited, place=place_in(error))):
            lost = RankLost(missing.name, missing.what, self.goes_on)
            # a rank that has started the others ends them, so it cannot leave it to them
            lost.aloud = missing.says == self.beats.rank or bool(self.children)
            return lost
        other = f"rank 1 (process {self.children[0].pid})" if len(self.children) == 1 else "another rank"
        return RankLost(*(found or (other, f"does not answer ({' '.join(text.split())[-120:]})")), self.goes_on)

    def orphan(self) -> bool:
        return self.parent is not None and os.getppid() != self.parent

    def _stopped(self) -> str | None:
        """A rank that was stopped (SIGSTOP), if the system tells."""
        others = {rank: p.pid for rank, p in enumerate(self.children, start=1)} | ({0: self.parent} if self.parent else {})
        for rank, pid in others.items():
            with suppress(OSError, IndexError):
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt":
                    return f"rank {rank} (process {pid})" if rank else f"the first rank (process {pid})"
        return None

    def _say_stopped(self, now: float) -> None:
        which = self._stopped()
        if which is None:
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = now
        elif 0 < self._stopped_since < now - SAY_STOPPED:
            self._stopped_since = -1.0  # said
            terminal.complain(f"{which} is stopped; the others wait for it")

    def _moves(self, now: float) -> bool:
        """Whether the main thread has moved within its patience, or is at work. A step may take long."""
        frame, stack = sys._current_frames().get(self._main.ident or 0), []
        while frame is not None:
            stack.append((id(frame), frame.f_lasti))
            frame = frame.f_back
        place, work = (stack, self.progress()), time.process_time()
        if self._seen is None or self._seen[0] != place or (self.works and work - self._seen[2] > BUSY * (now - self._seen[1])):
            self._seen = place, now, work
        return now - self._seen[1] < self.patience

    def _place(self) -> str:
        """The innermost function of this package on the main thread's stack."""
        frame = sys._current_frames().get(self._main.ident or 0)
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            if module.startswith("components."):
                return f"{module}.{frame.f_code.co_name}"
            frame = frame.f_back
        return "the main thread"

    # -- the end -----------------------------------------------------------------------------------------------------

    def _end(self, where: str, what: str, code: int) -> None:
        """End this process and its children from the watching thread, since the main thread waits for something that will not come."""
        with self._ending:
            self.say(UserError(where, what, self.goes_on))
            self.end_children(within=0.0)
            with suppress(Exception):
                if self.complete is not None:
                    self.complete()
            os._exit(code)

    def say(self, error: UserError) -> None:
        """Print why this process ends, in one line; only the first reason is printed."""
        if not self.quiet:
            name = f"rank {os.environ['LOCAL_RANK']}: " if self.parent is not None else ""
            terminal.complain(f"error: {name}{error.line()}")
            self.quiet = True

    def end_children(self, *, within: float) -> None:
        """Wait ``within`` seconds for the ranks that this one has started, then kill the rest."""
        until = time.monotonic() + within
        for process in self.children:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        for process in self.children:
            if process.poll() is None:
                process.kill()
                process.wait()
