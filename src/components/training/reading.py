"""Loaders whose readers are started once: processes that read ahead stay from one validation to the next, and end with the run.

A reader that somebody stopped (a debugger, a batch system) would be waited for as long as it stands still: torch's own time-out does not hold
while a tensor is handed over.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from components.core.errors import UserError
from components.corpus.steps import Item
from components.training.signals import deaf

STARTED: list[Any] = []  # readers of this process
LOOKS, EVERY = 20, 5.0  # a reader that was stopped at so many looks in a row, so many seconds apart, is given up


class Readers(DataLoader[Item]):
    """A ``DataLoader`` of whole batches whose workers persist and ignore signals; it says in one line that one of them died or stands still.

    Args:
        dataset: gives micro-batches by number.
        sampler: which ones, in which order; None: all of them.
        num_workers: processes that read ahead.
        pin_memory: for a GPU.

    Raises:
        UserError: on reading, where a worker is gone.
    """

    def __init__(
        self, dataset: Dataset[Item], sampler: Sampler[int] | None = None, *, num_workers: int = 0, pin_memory: bool = False
    ) -> None:
        super().__init__(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            # without a generator of its own a loader draws a seed from the global one, and a resumed run would differ
            generator=torch.Generator().manual_seed(0),
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            worker_init_fn=deaf,
        )

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]  # torch declares a private class
        known, read = self._iterator, super().__iter__()
        if not isinstance(read, _MultiProcessingDataLoaderIter):
            return read
        if read is not known:
            STARTED[:] = [*(reader for reader in STARTED if reader.is_alive()), *read._workers]
            pids = [reader.pid for reader in read._workers]
            threading.Thread(target=give_up_stopped, args=(pids,), daemon=True, name="stopped readers").start()
        return Reading(read)


class Reading:
    """What several readers read, in order."""

    def __init__(self, read: _MultiProcessingDataLoaderIter) -> None:
        self.read = read

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        try:
            return next(self.read)
        except (RuntimeError, OSError, EOFError) as e:
            cut = isinstance(e, (ConnectionError, EOFError))  # a moment before the system tells that the process is gone
            if not cut and all(reader.is_alive() for reader in self.read._workers):
                raise  # the data's own
            raise gone() from e


def end_all() -> None:
    """At the end of the process: a reader that is left is deaf to what multiprocessing would end it by, and would be waited for."""
    for reader in STARTED:
        with suppress(ValueError, AssertionError, OSError):  # it is closed, or gone already
            if reader._parent_pid == os.getpid():
                reader.kill()


atexit.register(end_all)


def gone() -> UserError:
    what = "a process that reads ahead is gone: it was killed, had no memory left, or stood still for long"
    return UserError("task.num_workers", what, "resume=auto goes on; task.num_workers=0 needs none")


def tells_of_a_dead_reader(error: RuntimeError) -> bool:
    """What torch raises wherever the process is just then, when a reader dies."""
    return str(error).startswith("DataLoader worker (pid")


def give_up_stopped(pids: list[int]) -> None:
    """Kill a reader that stays stopped: nobody could wait for it, nor end before it. Ends when all are gone."""
    seen = dict.fromkeys(pids, 0)
    while seen:
        time.sleep(EVERY)
        for pid in list(seen):
            state = state_of(pid)
            seen[pid] = seen[pid] + 1 if state in ("T", "t") else 0
            if state in ("", "Z"):
                del seen[pid]
            elif seen[pid] >= LOOKS:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)  # one that is stopped hears nothing else


def state_of(pid: int) -> str:
    """One letter, as ``ps`` shows it; empty where there is no such process, or where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
