"""Rows of examples, one example a row, padded to the longest of a batch: what blocks are to packed text, read by the same loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.corpus.example import Example
from components.errors import UserError
from components.sockets import Batch


@dataclass(frozen=True, slots=True)
class Row:
    """One example as a model reads it.

    Args:
        ids: (T,) token ids, 0 where the row is numbers.
        targets: (T,) the id to predict at each position, -100 where nothing is asked; one class (int); or numbers, a tuple of floats.
        source: (S,) ids that an encoder reads.
        values: (T, F) numbers instead of ids.
        cut: something of the example was left out, so that it fits.
    """

    ids: Sequence[int]
    targets: Sequence[int] | int | tuple[float, ...]
    source: Sequence[int] | None = None
    values: Sequence[Sequence[float]] | None = None
    cut: bool = False


Encode = Callable[[Example, int], Row]  # an example, and how long a row may be


class Rows:
    """Examples encoded once, and dealt in a new order each epoch: a function of (seed, epoch) alone.

    Args:
        name: of the split, for messages.
        examples: of one split.
        encode: an example as a row, of at most so many positions where it can be cut.
        context_length: longer rows are left out; ``notes`` says how many, and how many were cut.
        seed: of the order; None keeps that of the examples.

    Raises:
        UserError: nothing is left.
    """

    n_bytes = n_targets = 0  # bits per byte are asked of whole text alone

    def __init__(
        self, name: str, examples: Iterable[Example], encode: Encode, context_length: int, seed: int | None = None
    ) -> None:
        self.context_length, self.seed = context_length, seed
        self.rows: list[Row] = []
        self.examples: list[Example] = []
        self.notes: list[str] = []
        long: list[str] = []
        for example in examples:
            row = encode(example, context_length)
            if max(len(row.ids), len(row.source or ())) > context_length:
                long.append(example.where)
                continue
            self.rows.append(row)
            self.examples.append(example)
        if cut := sum(row.cut for row in self.rows):
            self.notes.append(f"{cut} examples of {name} cut to model.context_length={context_length}")
        if long:
            self.notes.append(
                f"{len(long)} examples of {name} left out: longer than model.context_length={context_length}, such as {long[0]}"
            )
        if not self.rows:
            why = f"all {len(long)} are longer than the model reads" if long else "it is empty"
            raise UserError("data", f"the {name} split has no example that fits: {why}", "set model.context_length to more")
        self.n_blocks = self.n_documents = len(self.rows)
        self.tokens_per_row = sum(len(r.ids) + len(r.source or ()) for r in self.rows) / self.n_blocks
        self._epoch: tuple[int, np.ndarray] | None = None

    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:
        """Rows ``indices`` (0 to ``n_blocks`` - 1) of ``epoch``."""
        return batch_of([self.rows[i] for i in self._order(epoch)[np.asarray(indices, dtype=np.int64)]])

    def _order(self, epoch: int) -> np.ndarray:
        if self._epoch is None or self._epoch[0] != epoch:
            if self.seed is None:
                order = np.arange(self.n_blocks)
            else:
                # the raw stream of a bit generator is fixed by definition, Generator.permutation is not
                raw = np.random.Philox(np.random.SeedSequence([self.seed, epoch])).random_raw(self.n_blocks)
                order = np.argsort(raw, kind="stable")
            self._epoch = epoch, order
        return self._epoch[1]


def batch_of(rows: Sequence[Row]) -> Batch:
    """The rows padded on the right to the longest; ``valid`` is there only if one of them is shorter."""
    ids, valid = padded([r.ids for r in rows], 0)
    first = rows[0]
    if isinstance(first.targets, tuple):
        targets = torch.tensor([r.targets for r in rows], dtype=torch.float32)
    elif isinstance(first.targets, int):
        targets = torch.tensor([r.targets for r in rows])
    else:
        targets, _ = padded([r.targets for r in rows], -100)  # type: ignore[misc]
    source = values = None
    if first.source is not None:
        read, read_valid = padded([r.source for r in rows], 0)  # type: ignore[misc]
        source = Batch(read, valid=read_valid)
    if first.values is not None:
        width = len(first.values[0])
        values = torch.zeros(*ids.shape, width)
        for i, row in enumerate(rows):
            values[i, : len(row.ids)] = torch.tensor(row.values, dtype=torch.float32)
    return Batch(ids, targets, valid=valid, source=source, values=values)


def padded(rows: Sequence[Sequence[Any]], fill: int) -> tuple[Tensor, Tensor | None]:
    """(B, T) of rows, and which positions are theirs, or None where all are."""
    lengths = torch.tensor([len(r) for r in rows])
    longest = int(lengths.max())
    made = torch.full((len(rows), longest), fill)
    for i, row in enumerate(rows):
        made[i, : len(row)] = torch.as_tensor(row)
    valid = torch.arange(longest) < lengths[:, None]
    return made, None if bool(valid.all()) else valid
