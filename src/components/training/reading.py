"""Loaders that start their reader processes once: readers stay from one validation to the next, and end with the run.

A reader that was stopped by a debugger or a batch system would be waited for forever: torch's time-out does not cover handing over a tensor.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from components.core.errors import UserError
from components.corpus.steps import MicroBatch
from components.training.signals import deaf

STARTED: list[Any] = []  # readers of this process
FORKING = threading.Lock()  # no thread of this file works while readers are forked: they would never get what it holds
LOOKS, EVERY = 20, 5.0  # a reader that is stopped at this many checks in a row, this many seconds apart, is killed


class Readers(DataLoader[MicroBatch]):
    """A ``DataLoader`` of whole batches. Its workers persist and ignore signals; if one dies or hangs, that is a one-line error.

    Args:
        dataset: micro-batches by number.
        sampler: which of them, and in which order; None: all.
        num_workers: processes that read ahead.
        pin_memory: copy batches into pinned memory, for a GPU.

    Raises:
        UserError: while reading, if a worker is gone.
    """

    def __init__(
        self,
        dataset: Dataset[MicroBatch],
        sampler: Sampler[int] | None = None,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            # without its own generator a loader draws a seed from the global one, and a resumed run would differ
            generator=torch.Generator().manual_seed(0),
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            worker_init_fn=deaf,
        )

    def __iter__(self) -> Iterator[MicroBatch]:  # type: ignore[override]  # torch declares a private class
        if not self.num_workers and not self.pin_memory:
            return self._here()
        known = self._iterator
        with FORKING:
            read = super().__iter__()
        if not isinstance(read, _MultiProcessingDataLoaderIter):
            return read
        if read is not known:
            read._workers_done_event = Done(read._workers_done_event)
            for reader in read._workers:
                reader._popen.terminate = (
                    reader._popen.kill
                )  # they ignore the gentler signal, and who sends it then waits for them
            STARTED[:] = [*(reader for reader in STARTED if reader.is_alive()), *read._workers]
            pids = [reader.pid for reader in read._workers]
            threading.Thread(target=give_up_stopped, args=(pids,), daemon=True, name="stopped readers").start()
        return Reading(read)

    def _here(self) -> Iterator[MicroBatch]:
        """What torch's own does where this process reads, without what its profiler asks for each time."""
        collate = cast(Callable[[MicroBatch], MicroBatch], self.collate_fn)  # torch's type is that of a batch_size
        return (collate(self.dataset[number]) for number in self.sampler)


class Done:
    """The event that tells readers to end, as this process sees it. A reader that dies while it asks holds the event's lock for ever: no one waits for it.

    Args:
        event: shared with the readers.
    """

    def __init__(self, event: Event) -> None:
        self.event, self.told = event, False

    def set(self) -> None:
        self.told = True
        telling = threading.Thread(target=self.event.set, daemon=True, name="end of reading")
        telling.start()
        telling.join(1.0)

    def is_set(self) -> bool:
        return self.told


class Reading:
    """The batches of several readers, in order."""

    def __init__(self, read: _MultiProcessingDataLoaderIter) -> None:
        self.read = read

    def __iter__(self) -> Iterator[MicroBatch]:
        return self

    def __next__(self) -> MicroBatch:
        try:
            return next(self.read)
        except (RuntimeError, OSError, EOFError) as e:
            cut = isinstance(
                e, (ConnectionError, EOFError)
            )  # this comes a moment before the system reports that the process is gone
            if not cut and all(reader.is_alive() for reader in self.read._workers):
                raise  # an error of the data
            hear_of_death(self.read)
            raise gone() from e


def hear_of_death(read: _MultiProcessingDataLoaderIter, seconds: float = 1.0) -> None:
    """Wait until the system reports the dead reader. Torch raises wherever the process is when it hears of it: here, not in what handles the error."""
    end = time.monotonic() + seconds
    with suppress(RuntimeError):
        while all(reader.is_alive() for reader in read._workers) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.01)  # what the signal has set off runs here at the latest


def end_all() -> None:
    """At the end of the process, kill readers that are left. They ignore the signal that multiprocessing sends, and would be waited for."""
    with suppress(ValueError):  # this is no main thread
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else torch raises here at the first death, and the others live on
    for reader in STARTED:
        with suppress(ValueError, AssertionError, OSError):  # it is closed or gone
            if reader._parent_pid == os.getpid():
                reader.kill()


atexit.register(end_all)


def gone() -> UserError:
    what = "a process that reads ahead is gone: it was killed, had no memory left, or stood still for long"
    return UserError("task.num_workers", what, "resume=auto goes on; task.num_workers=0 needs none")


def tells_of_a_dead_reader(error: RuntimeError) -> bool:
    """Whether it is the error that torch raises, wherever the process is, when a reader dies."""
    return str(error).startswith("DataLoader worker (pid")


def give_up_stopped(pids: list[int]) -> None:
    """Kill a reader that stays stopped, since nothing could go on or end before it does. Returns when all readers are gone."""
    seen = dict.fromkeys(pids, 0)
    while seen:
        time.sleep(EVERY)
        with FORKING:
            for pid in list(seen):
                state = state_of(pid)
                seen[pid] = seen[pid] + 1 if state in ("T", "t") else 0
                if state in ("", "Z"):
                    del seen[pid]
                elif seen[pid] >= LOOKS:
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)  # a stopped process reacts to no other signal


def state_of(pid: int) -> str:
    """The state of a process as ``ps`` shows it, one letter; empty if it does not exist or the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
