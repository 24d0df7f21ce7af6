"""metrics.csv: one row a logged step, always the same columns; the csv logger, which needs no library and can be cut and continued."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

COLUMNS = (
    "step",
    "epoch",
    "tokens",
    "seconds",
    "train_loss",
    "val_loss",
    "val_bits_per_byte",
    "lr",
    "tokens_per_second",
    "mfu",
)


class MetricsFile:
    """Rows of ``metrics.csv``; what training and validation say about the same step becomes one row.

    Args:
        path: the file; an existing one is continued.
        upto: rows after this step are cut first (the run goes on from a checkpoint of that step).
    """

    def __init__(self, path: Path, upto: int | None = None) -> None:
        self.path = path
        self.pending: dict[str, Any] = {}
        kept = [r for r in read_rows(path) if upto is not None and r["step"] <= upto] if path.exists() else []
        with path.open("w", newline="") as f:
            writer = csv.DictWriter(f, COLUMNS)
            writer.writeheader()
            writer.writerows({c: _shown(r[c]) for c in COLUMNS} for r in kept)

    def add(self, step: int, **figures: Any) -> None:
        """Add figures to the row of ``step``. The row is written when the next step begins, or by ``flush``."""
        if self.pending and self.pending["step"] != step:
            self.flush()
        self.pending.update(step=step, **figures)

    def flush(self) -> None:
        if self.pending:
            with self.path.open("a", newline="") as f:
                csv.DictWriter(f, COLUMNS).writerow({c: _shown(self.pending.get(c)) for c in COLUMNS})
            self.pending = {}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Each row with numbers, None where a cell is empty."""
    rows: list[dict[str, Any]] = []
    with path.open(newline="") as f:
        for row in csv.DictReader(f):
            values = {c: float(row[c]) if row.get(c) else None for c in COLUMNS}
            if values["step"] is not None:
                rows.append({**values, "step": int(values["step"])})
    return rows


def perplexity(loss: float) -> float:
    """exp(nats per token); inf where that is too large for a float."""
    return math.exp(loss) if loss < 700 else math.inf
