"""Progress of long steps: a bar on a terminal once a step takes two seconds, else one line when such a step is done."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

PATIENCE = 2.0  # seconds that a step may take unseen


class ShownProgress:
    """Pass it to ``prepare(..., progress=...)``. Use as a context manager, so that a bar is closed whatever happens.

    Args:
        file: where to, standard error if None.
        patience: seconds before anything is shown.
    """

    def __init__(self, file: TextIO | None = None, *, patience: float = PATIENCE) -> None:
        self.file = file or sys.stderr
        self.patience = patience
        self.what = ""
        self.since = 0.0
        self.bar: Any = None
        self.task: Any = None

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if what != self.what:
            self.close()
            self.what, self.since = what, now
        if now - self.since < self.patience:
            return
        if self.file.isatty():
            self._show(what, done, total)
        elif total is not None and done >= total:
            print(f"{what}: {done} documents in {now - self.since:.1f} s", file=self.file, flush=True)
            self.what = ""
        if total is not None and done >= total:
            self.close()

    def _show(self, what: str, done: int, total: int | None) -> None:
        if self.bar is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=Console(file=self.file))
            self.bar.start()
            self.task = self.bar.add_task(what, total=total)
        self.bar.update(self.task, completed=done, total=total)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def __enter__(self) -> ShownProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
