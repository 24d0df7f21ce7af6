"""The progress bar: on a terminal one line that is redrawn at most twice a second, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from components.core import terminal


class Bar:
    """Loss, tokens/s and time left.

    Args:
        out: where to write.
        every: seconds between lines where ``out`` is no terminal.
    """

    def __init__(self, out: TextIO | None = None, every: float = 10.0) -> None:
        self.out = out or sys.stdout
        self.live = terminal.is_live(self.out)
        self.every = 0.5 if self.live else every
        self.first = self.total = 0
        self._row: dict[str, Any] = {}
        self._shown = 0.0
        self._began = 0.0
        self._line = ""
        self._what, self._long = "", False  # the step before training, and whether a line has told of it

    def start(self, step: int, total: int, seconds: float) -> None:
        self.first, self.total, self._began = step, total, seconds
        self._shown = 0.0 if self.live else time.perf_counter()

    def figures(self, row: Mapping[str, object]) -> None:
        self._row.update({n: v for n, v in row.items() if v is not None})

    def update(self, step: int, seconds: float) -> None:
        """Called every step; draws only when it is time."""
        now = time.perf_counter()
        if now - self._shown < self.every and step < self.total:
            return
        self._shown = now
        self._draw(self.text(step, seconds))

    def text(self, step: int, seconds: float) -> str:
        parts = [f"step {step}/{self.total}"]
        if self.live:
            done = int(20 * step / max(self.total, 1))
            parts.append("█" * done + "░" * (20 - done))
        if "train_loss" in self._row:
            parts.append(f"loss {self._row['train_loss']:.3f}")
            parts.append(f"{self._row['tokens_per_second']:,.0f} tokens/s")
        parts.append(f"{span(seconds)} trained")
        if step > self.first:
            parts.append(f"{span((seconds - self._began) / (step - self.first) * (self.total - step))} left")
        return "  ".join(parts)

    def validated(self, step: int, row: Mapping[str, object]) -> None:
        self.say(f"step {step}  validation: {told(row, 'val_')}")

    def say(self, text: str) -> None:
        """Print above the bar."""
        below = self.live and self._line
        terminal.tell(f"\r\x1b[K{text}\n{self._line}" if below else f"{text}\n", self.out, end="")

    def task(self, what: str, done: int, total: int | None) -> None:
        """A step before training: one line on a terminal. Elsewhere a line now and then and one at its end; of a short one none, since an error that
        follows is to stand alone there.
        """
        now = time.perf_counter()
        ended = total is not None and done >= total
        if what != self._what:
            self._what, self._long = what, False
            self._shown = self._shown if self.live else now
        due = now - self._shown >= (0.2 if self.live else self.every)
        if due or (ended and (self.live or self._long)):
            self._shown, self._long = now, True
            self._draw(f"{what}: {done:,}" + (f" of {total:,}" if total and not (ended and not self.live) else ""))
        if ended:
            self._what = ""
            self.stop()

    def stop(self) -> None:
        if self.live and self._line:
            terminal.tell("", self.out)
        self._line = ""

    def _draw(self, text: str) -> None:
        self._line = text if self.live else ""
        terminal.tell(f"\r\x1b[K{text}" if self.live else f"{text}\n", self.out, end="")


def span(seconds: float) -> str:
    """1:05, 2:03:04."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def told(figures: Mapping[str, object], prefix: str = "") -> str:
    """What was measured, in words: loss, perplexity, bits per byte, then the task's metrics by their names."""
    forms = {"loss": "loss {:.4f}", "perplexity": "perplexity {:.2f}", "bits_per_byte": "{:.4f} bits per byte"}
    measured = {n.removeprefix(prefix): v for n, v in figures.items() if n.startswith(prefix)}
    parts = [form.format(measured[n]) for n, form in forms.items() if measured.get(n) is not None]
    return ", ".join([*parts, *(f"{n.replace('_', ' ')} {v:.4g}" for n, v in measured.items() if n not in forms)])
