"""metrics.csv: one row for each logged step. It needs no library, and a resumed run cuts and continues it.

The names of a run's figures stand here, with what tables and lists call them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

from components.core import files
from components.core.errors import UserError
from components.core.files import read_text

STEP, EPOCH, TOKENS, SECONDS = "step", "epoch", "tokens", "seconds"
TRAIN_LOSS, LR, SPEED, MFU = "train_loss", "lr", "tokens_per_second", "mfu"
VALIDATION = "val_"  # the beginning of each figure of validation
VAL_LOSS, VAL_PERPLEXITY, VAL_BITS = "val_loss", "val_perplexity", "val_bits_per_byte"
OF_LOSS = (VAL_LOSS, VAL_PERPLEXITY, VAL_BITS)  # one figure in three units
COLUMNS = (STEP, EPOCH, TOKENS, SECONDS, TRAIN_LOSS, VAL_LOSS, VAL_BITS, LR, SPEED, MFU)

# what the table at the end of a run calls a figure, in this order
TITLES = {
    "state": "state",
    STEP: "steps",
    TOKENS: "tokens",
    SECONDS: "seconds of training",
    SPEED: "tokens per second",
    MFU: "model FLOPs utilisation",
    "idle_steps": "steps that asked for nothing",
    "skipped_steps": "steps skipped as outliers",
    "faults": "steps left out as faults",
    "rewinds": "of them gone back at",
    "parameters": "parameters",
    "unread_weights": "weights that nothing reads",
    TRAIN_LOSS: "training loss",
    VAL_LOSS: "validation loss",
    "validated": "validation measured on",
    VAL_PERPLEXITY: "validation perplexity",
    VAL_BITS: "validation bits per byte",
    f"best_{VAL_LOSS}": "best validation loss",
    f"best_{STEP}": "at step",
    "accepted": "samples accepted",
}
# the head of its column where runs are listed
HEADS = {STEP: "steps", TRAIN_LOSS: "train loss", VAL_LOSS: "val loss", VAL_BITS: "bits/byte", SECONDS: "seconds"}

Row = dict[str, float | None]  # {column: figure, None where its cell is empty}; ``step`` is always there


class MetricsFile:
    """Writes rows of ``metrics.csv``. Training and validation of the same step become one row.

    The columns of ``COLUMNS`` are always there. Further figures of a task, a loss or a part get columns behind them, added with the first value.

    Args:
        path: the file; ``open`` creates or continues it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pending: Row = {}
        self.columns = [*COLUMNS]
        self._last: Row | None = None

    def open(self, upto: int | None = None) -> None:
        """Start an empty table, or keep the rows up to step ``upto``: that of the checkpoint that the run goes on from."""
        kept = [r for r in read_rows(self.path) if upto is not None and step_of(r) <= upto] if self.path.exists() else []
        self.columns = [*COLUMNS, *(c for c in (kept[0] if kept else ()) if c not in COLUMNS)]
        self._write(kept)
        self._last = kept[-1] if kept else None

    def add(self, step: int, **figures: float | None) -> None:
        """Add figures to the row of ``step``. The row is written when the next step begins, or by ``flush``.

        If the row is already in the file, it is taken out and extended: a run may be stopped between a step and its validation.
        """
        if self.pending and step_of(self.pending) != step:
            self.flush()
        if self._last is not None and step_of(self._last) == step:
            self._write(read_rows(self.path)[:-1])
            self.pending = {n: v for n, v in self._last.items() if v is not None}
        self._last = None
        self.pending.update(step=step, **figures)

    def flush(self) -> None:
        if not self.pending:
            return
        if new := [c for c in self.pending if c not in self.columns]:
            rows = read_rows(self.path)
            self.columns += new
            self._write(rows)
        row = io.StringIO(newline="")
        csv.DictWriter(row, self.columns).writerow({c: _shown(self.pending.get(c)) for c in self.columns})
        try:
            with files.open_append(self.path) as f:
                f.write(row.getvalue().encode())
        except OSError as e:  # a full disk
            raise files.unwritable(self.path, e) from None
        self.pending, self._last = {}, self.pending

    def _write(self, rows: list[Row]) -> None:
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, self.columns)
        writer.writeheader()
        writer.writerows({c: _shown(r.get(c)) for c in self.columns} for r in rows)
        files.write_text(self.path, table.getvalue())  # a killed process leaves one or the other


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def read_rows(path: Path) -> list[Row]:
    """Each row with numbers, None where a cell is empty.

    Raises:
        UserError: a cell is not a number, or the file is not such a table.
    """
    rows: list[Row] = []
    text = read_text(path)  # a file, and no pipe or device
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if "step" not in (reader.fieldnames or ()):
            raise UserError(str(path), "is damaged: its first line names no column step")
        columns = dict.fromkeys((*COLUMNS, *reader.fieldnames))  # type: ignore[misc]  # checked above
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            values = {c: _number(row[c], where) if row.get(c) else None for c in columns}
            if values["step"] is not None:
                if not math.isfinite(values["step"]):
                    raise UserError(where, f"is damaged: {row['step']!r} is not a step")
                rows.append({**values, "step": int(values["step"])})
    except csv.Error:
        raise UserError(str(path), "is damaged: it is not a table of text") from None
    return rows


def _number(cell: str, where: str) -> float:
    try:
        return int(cell) if cell.isdecimal() else float(cell)  # a count stays one when it is written again
    except ValueError:
        raise UserError(where, f"is damaged: {cell!r} is not a number") from None


def measured(figures: Iterable[str]) -> list[str]:
    """The names of a task's own metrics in validation, among those of figures."""
    return [n for n in figures if n.startswith(VALIDATION) and n not in OF_LOSS]


def called(figure: str) -> str:
    """A figure that a task measures, for people: ``val_f1_macro`` is ``f1 macro``."""
    return figure.removeprefix(VALIDATION).replace("_", " ")


def step_of(row: Row) -> int:
    return int(row[STEP] or 0)


def perplexity(loss: float) -> float:
    """exp(nats per token); inf where that is too large for a float."""
    return math.exp(loss) if loss < 700 else math.inf
