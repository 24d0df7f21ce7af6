"""The signals that ask a run to stop: what each means before, during and after training.

Workers and other ranks may get them too (a scheduler signals whole process groups), so handlers only note what was asked. Lightning's own
talk to the other ranks from inside the handler, which deadlocks when all of them get the signal (Lightning#20806).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL
# the larger number wins where several have come, on one rank or on many
NONE, INTERRUPT, STOP, REQUEUE = range(4)
PRESSES = 3  # of Ctrl-C, until the run is left without saving


class Preempted(SystemExit):
    """Asked to stop by a signal, and saved if anything was trained; ``resume=`` goes on from there. ``asked``: what the signal meant."""

    def __init__(self, asked: int = STOP) -> None:
        super().__init__(EXIT_TRY_AGAIN)
        self.asked = asked


class Signals:
    """What this process was asked, and what it does about it: leaves at once before training, notes it in training, goes on ending after.

    Args:
        requeue: SIGUSR1 asks to be put into the queue again, as SLURM's ``--signal=USR1@90`` does.
        aloud: say what Ctrl-C does.
    """

    def __init__(self, *, requeue: bool = False, aloud: bool = True) -> None:
        self.aloud = aloud
        self.asked = NONE
        self.agreed = False  # all ranks have saved, and stop
        self.phase = "before"
        self.meanings = {signal.SIGINT: INTERRUPT, signal.SIGTERM: STOP, signal.SIGHUP: STOP}
        if requeue:
            self.meanings[signal.SIGUSR1] = REQUEUE
        self._presses = 0
        self._process = 0

    @contextmanager
    def heard(self) -> Iterator[Signals]:
        """Handlers in place meanwhile, in the main thread; those of before come back."""
        before = {number: signal.getsignal(number) for number in self.meanings}
        try:
            self.listen()
            yield self
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def listen(self) -> None:
        """Also called by each process that trains: one that was spawned has none of its parent's handlers."""
        if self._process == os.getpid() or threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        for number in self.meanings:
            if number != signal.SIGTERM and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup, or a job in the background: whoever started this wants it deaf
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        meaning = self.meanings[signal.Signals(number)]
        asked, self.asked = self.asked, max(self.asked, meaning)
        if self.phase == "after" and asked:
            return  # it is ending already, for that very reason
        if meaning == INTERRUPT:
            self._presses += 1
            if self.phase != "training" or self._presses >= PRESSES:
                signal.default_int_handler(number, frame)
            if self.aloud:
                _tell(b"\ninterrupted: saving after this step (a third Ctrl-C leaves without)\n")
        elif self.phase == "before":
            raise Preempted(meaning)


def deaf(worker: int) -> None:
    """What a process that reads data does with them: nothing. It ends when its parent has done its work, or is gone."""
    del worker
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _tell(text: bytes) -> None:
    with suppress(OSError):
        os.write(2, text)  # print is not safe in a handler
