"""Signals that ask a run to stop, and what each means before, during and after training.

Workers and other ranks may get them too, since a scheduler signals whole process groups. So handlers only note the request. Lightning's own
handlers talk to other ranks, which deadlocks if all of them get the signal (Lightning#20806).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL
# if several came, on one rank or on many, the largest number wins
NONE, INTERRUPT, STOP, REQUEUE = range(4)
PRESSES = 3  # of Ctrl-C after which the run exits without saving


class Preempted(SystemExit):
    """A signal asked the run to stop. If anything was trained, it was saved, and ``resume=`` goes on. ``asked``: the meaning of the signal."""

    def __init__(self, asked: int = STOP) -> None:
        super().__init__(EXIT_TRY_AGAIN)
        self.asked = asked


class Signals:
    """What signals asked of this process. Before training it exits at once; during training the request is noted; afterwards it just ends.

    Args:
        requeue: SIGUSR1 asks for requeueing the job, as with SLURM's ``--signal=USR1@90``.
        aloud: print what Ctrl-C does.
    """

    def __init__(self, *, requeue: bool = False, aloud: bool = True) -> None:
        self.aloud = aloud
        self.asked = NONE
        self.agreed = False  # all ranks have saved and will stop
        self.phase = "before"
        self.meanings = {signal.SIGINT: INTERRUPT, signal.SIGTERM: STOP, signal.SIGHUP: STOP}
        if requeue:
            self.meanings[signal.SIGUSR1] = REQUEUE
        self._presses = 0
        self._process = 0

    @contextmanager
    def heard(self) -> Iterator[Signals]:
        """Install the handlers inside the block, in the main thread, and restore the earlier ones."""
        before = {number: signal.getsignal(number) for number in self.meanings}
        try:
            self.listen()
            yield self
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def listen(self) -> None:
        """Install the handlers. Each process that trains calls this, since a spawned one has none of its parent's handlers."""
        if self._process == os.getpid() or threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        for number in self.meanings:
            if number != signal.SIGTERM and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup, or a background job: the signal is meant to be ignored
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        meaning = self.meanings[signal.Signals(number)]
        asked, self.asked = self.asked, max(self.asked, meaning)
        if self.phase == "after" and asked:
            return  # it is ending already because of the first signal
        if meaning == INTERRUPT:
            self._presses += 1
            if self.phase != "training" or self._presses >= PRESSES:
                signal.default_int_handler(number, frame)
            if self.aloud:
                _tell(b"\ninterrupted: saving after this step (a third Ctrl-C leaves without)\n")
        elif self.phase == "before":
            raise Preempted(meaning)


def deaf(worker: int) -> None:
    """Ignore these signals in a process that reads data. It ends when its parent has done its work or is gone."""
    del worker
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _tell(text: bytes) -> None:
    with suppress(OSError):
        os.write(2, text)  # print is not safe in a handler
