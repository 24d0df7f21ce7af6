"""Processes that work for this one: each has one core, and takes the next task when it has done its last."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from components.core.errors import UserError
from components.corpus.store import Meta
from components.corpus.worker import START

ONE_CORE = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
Said = tuple[int, str, Any]  # task, kind of reply, value


def cores() -> int:
    """The cores that this process may use; of a node's ranks that prepare at once, each has its part of them."""
    try:
        there = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        there = os.cpu_count() or 1
    return max(1, there // max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or 1)))


class Workers:
    """Up to ``count`` processes, started when there is work for them; a context manager that ends them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                try:
                    stream.close()  # type: ignore[union-attr]  # both are pipes
                except OSError:
                    continue  # what was still to be sent to a process that is gone
        self.processes.clear()

    def run(
        self, function: Callable[..., Meta], tasks: Sequence[tuple[object, ...]], tick: Callable[[int], None]
    ) -> list[Meta]:
        """What ``function(tick, *task)`` returns for each task, in their order. ``function`` is one of a module's.

        Raises:
            UserError: what a task raises, or a process was killed.
            RuntimeError: another error in a process; its traceback is in the message.
        """
        while len(self.processes) < min(self.count, len(tasks)):
            self.processes.append(_started())
        waiting = deque(enumerate(tasks))
        said: SimpleQueue[Said] = SimpleQueue()
        for process in self.processes:
            threading.Thread(target=_drive, args=(process, function, waiting, said), daemon=True).start()
        results: dict[int, Meta] = {}
        while len(results) < len(tasks):
            task, kind, value = said.get()
            if kind == "more":
                tick(value)
            elif kind == "done":
                results[task] = value
            elif kind == "mistake":
                raise UserError(*value)
            elif kind == "gone":
                instead = "start again: what is finished stays; fewer workers need less memory"
                raise UserError("workers", f"a process that prepared data {value}", instead)
            else:
                raise RuntimeError("in a process that prepared data: {}\n{}".format(*value))
        return [results[i] for i in range(len(tasks))]


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", START]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **ONE_CORE})
    assert process.stdin is not None
    try:
        pickle.dump(sys.path, process.stdin)
        process.stdin.flush()
    except BrokenPipeError:
        pass  # whoever gives it work hears that it is gone
    return process


def _drive(
    process: subprocess.Popen[bytes],
    function: Callable[..., Meta],
    waiting: deque[tuple[int, tuple[object, ...]]],
    said: SimpleQueue[Said],
) -> None:
    """Give a process one task after another, and pass on what it says."""
    assert process.stdin is not None
    assert process.stdout is not None
    while True:
        try:
            task, arguments = waiting.popleft()
        except IndexError:
            return
        try:
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
            kind = "more"
            while kind == "more":
                kind, value = pickle.load(process.stdout)
                said.put((task, kind, value))
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):  # the pipe ends; ValueError: it was closed here
            code = process.wait()
            said.put((task, "gone", f"was killed (signal {-code})" if code < 0 else f"has ended (exit code {code})"))
            return
