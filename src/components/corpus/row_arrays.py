"""Rows as arrays: one flat array for each field of a row, and the end of each row in it. In memory, or mapped from the cache.

Lists of Python numbers would take ten times the memory, in every process.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.core.sockets import Batch
from components.corpus.row import Form

FORM = "form.json"


class RowArrays:
    """Rows of one form, as ``row_building.Building`` makes them.

    Args:
        arrays: flat ids, targets, source and values by name, and ``<name>.ends`` for those whose rows differ in length.
        form: the ``Row.form`` of all rows.
        folder: where the arrays are mapped from, or None.
    """

    def __init__(self, arrays: dict[str, np.ndarray], form: Form, folder: Path | None = None) -> None:
        self.arrays, self.form, self.folder = arrays, form, folder

    def __len__(self) -> int:
        return len(self.arrays["ids.ends"])

    def __reduce__(self) -> tuple[object, ...]:
        # another process maps the files again: pickled, the arrays would be copied into every worker
        return (mapped, (self.folder,)) if self.folder is not None else (RowArrays, (self.arrays, self.form))

    def batch(self, numbers: np.ndarray) -> Batch:
        """These rows padded on the right to the longest; ``valid`` is there only if one of them is shorter."""
        kind, _, sourced, width = self.form
        ids, valid = self.padded("ids", numbers, 0)
        if kind == "tokens":
            targets, _ = self.padded("targets", numbers, -100)
        else:
            targets = torch.from_numpy(np.array(self.arrays["targets"][numbers]))
        source = None
        if sourced:
            read, read_valid = self.padded("source", numbers, 0)
            source = Batch(read, valid=read_valid)
        values = self.padded("values", numbers, 0, "ids.ends")[0] if width else None
        return Batch(ids, targets, valid=valid, source=source, values=values)

    def padded(self, name: str, rows: np.ndarray, fill: int, ends_of: str = "") -> tuple[Tensor, Tensor | None]:
        """The rows as (B, T) or (B, T, F), and which positions are not padding (None: all). Integers become int64."""
        flat, ends = self.arrays[name], self.arrays[ends_of or f"{name}.ends"]
        starts = np.where(rows > 0, ends[rows - 1], 0)
        lengths = ends[rows] - starts
        place = np.arange(int(lengths.max()))
        there = place < lengths[:, None]
        at = np.where(there, starts[:, None] + place, 0)
        made = np.array(flat[at]) if len(flat) else np.zeros((*at.shape, *flat.shape[1:]), flat.dtype)
        made[~there] = fill
        found = torch.from_numpy(made if made.dtype.kind == "f" else made.astype(np.int64))
        return found, None if there.all() else torch.from_numpy(there)


def shaped(arrays: dict[str, np.ndarray], form: Form) -> dict[str, np.ndarray]:
    """Flat arrays, those of several numbers each as (N, F)."""
    kind, n_targets, _, width = form
    wide = {"values": width, "targets": n_targets if kind == "amounts" else 0}
    return {n: a.reshape(-1, wide[n]) if wide.get(n) else a for n, a in arrays.items()}


def mapped(folder: Path) -> RowArrays:
    """Map the files that ``Building`` wrote. An empty file cannot be mapped, so it becomes an empty array."""
    kind, n_targets, sourced, width = json.loads((folder / FORM).read_text(encoding="utf8"))
    form = (kind, n_targets, sourced, width)
    files = {n: (folder / n, np.dtype(code)) for n, code in codes(form).items()}
    arrays = {n: np.memmap(f, d, "r") if f.stat().st_size else np.zeros(0, d) for n, (f, d) in files.items()}
    return RowArrays(shaped(arrays, form), form, folder)


def codes(form: Form) -> dict[str, str]:
    """{array: the type of its numbers} of rows of this form."""
    kind, _, sourced, width = form
    found = {"ids": "i", "ids.ends": "q", "targets": {"tokens": "i", "class": "q", "amounts": "f"}[kind]}
    found |= {"targets.ends": "q"} if kind == "tokens" else {}
    found |= {"source": "i", "source.ends": "q"} if sourced else {}
    return found | ({"values": "f"} if width else {})
