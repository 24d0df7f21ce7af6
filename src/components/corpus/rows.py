"""Rows of examples, one example a row, padded to the longest of a batch. Loaders read them in the same way as blocks of packed
text."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from components.core.errors import UserError
from components.core.sockets import Batch
from components.corpus.batches import once_a_row
from components.corpus.example import Example
from components.corpus.example_files import Chosen
from components.corpus.order import EpochOrder
from components.corpus.row import Row
from components.corpus.row_building import Building, arrays_of

__all__ = ["Encode", "LeftOut", "Row", "Rows", "RowsOfOne", "batch_of"]

# an example, and how long a row may be; LeftOut where none comes of it. A pair's two rows, a tuple, stand or fall together; those of a list stand alone
Encode = Callable[[Example, int], "Row | tuple[Row, ...] | list[Row]"]


class LeftOut(Exception):
    """Why an example gives no row. Such examples are dropped and counted."""


class Rows:
    """Examples, encoded once and shuffled anew in each epoch. The order depends on (seed, epoch) alone.

    Args:
        name: the split's name, for messages.
        examples: the examples of one split.
        encode: makes a row from an example, of at most so many positions if it can be cut.
        context_length: longer rows are left out; ``notes`` says how many, and how many were cut.
        seed: of the order; None keeps that of the examples.
        folder: in the cache, where rows are written and mapped from; None keeps them in memory.

    Raises:
        UserError: no example is left, or one has another form than those before it.
    """

    n_bytes = n_targets = 0  # bits per byte are asked of whole text alone

    def __init__(
        self,
        name: str,
        examples: Sequence[Example],
        encode: Encode,
        context_length: int,
        seed: int | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        self.context_length = context_length
        self.notes: list[str] = []
        kept, long, cut, tokens, unfolded = array("q"), 0, 0, 0, 0
        dropped, too_long, why_dropped = 0, "", ""
        with Building(folder) as made:
            for number, example in enumerate(examples):
                try:
                    given = encode(example, context_length)
                except LeftOut as e:
                    dropped, why_dropped = dropped + 1, why_dropped or f"{example.where} ({e})"
                    continue
                unfolded += isinstance(given, list)
                for one in given if isinstance(given, list) else [given]:
                    rows = one if isinstance(one, tuple) else (one,)
                    if max(max(len(row.ids), len(row.source or ())) for row in rows) > context_length:
                        long, too_long = long + 1, too_long or example.where
                        continue
                    try:
                        for row in rows:
                            made.add(row)
                    except ValueError as e:
                        raise UserError(example.where, str(e), "give data whose examples are all alike") from None
                    kept.append(number)
                    cut += any(row.cut for row in rows)
                    tokens += sum(len(row.ids) + len(row.source or ()) for row in rows)
            if not kept:
                why = f"all {long} are longer than the model reads" if long else "it is empty"
                if dropped:
                    raise UserError(
                        "data", f"the {name} split has no example that fits: {dropped} left out, such as {why_dropped}"
                    )
                raise UserError("data", f"the {name} split has no example that fits: {why}", "set model.context_length to more")
        self.rows = made.done()
        self.examples = Chosen(examples, np.frombuffer(kept, dtype=np.int64)) if long or dropped or unfolded else examples
        if cut:
            self.notes.append(f"{cut} examples of {name} cut to model.context_length={context_length}")
        if unfolded:
            self.notes.append(f"{unfolded} examples of {name} in several rows, since later answers change the text before them")
        if long:
            self.notes.append(
                f"{long} examples of {name} left out: longer than model.context_length={context_length}, such as {too_long}"
            )
        if dropped:
            self.notes.append(f"{dropped} examples of {name} left out, such as {why_dropped}")
        self.n_blocks = self.n_documents = len(self.rows)
        self.tokens_per_row = tokens / self.n_blocks
        self.order = EpochOrder(self.n_blocks, seed)

    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:
        """Rows ``indices`` (0 to ``n_blocks`` - 1) of ``epoch``."""
        return self.rows.batch(self.order.rows(epoch, indices))


class RowsOfOne(Rows):
    """Rows of tokens each of which weighs 1, however many targets it has: a step of n rows is one mean over n."""

    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:
        batch = super().batch(epoch, indices)
        assert batch.targets is not None
        return replace(batch, weights=once_a_row(batch.targets))


def batch_of(rows: Sequence[Row]) -> Batch:
    """The rows padded on the right to the longest; ``valid`` is there only if one of them is shorter."""
    return arrays_of(rows).batch(np.arange(len(rows)))
