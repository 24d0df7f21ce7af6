"""Pairs of answers as rows: one pair a row, the chosen answer its document 0 and the rejected one its document 1.

So whatever counts, divides and orders rows does the same with pairs, and a step of n rows is one mean over n pairs: the weights of a row's targets
add up to 1 (docs/decisions/a-pair-is-one-row.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from components.core.sockets import Batch
from components.corpus.batches import once_a_row
from components.corpus.example import Example
from components.corpus.order import EpochOrder
from components.corpus.rows import Rows
from components.functional.cross_entropy import IGNORED


class Side(NamedTuple):
    """A prompt and one answer: (T,) ids, and the target of each; empty where a row has the other answer alone."""

    ids: NDArray[np.integer]
    targets: NDArray[np.integer]

    @property
    def begins(self) -> int:
        """The position of the first target: the last of the prompt."""
        return int((self.targets != IGNORED).argmax())


class PairRows:
    """Rows of two documents, prompt and answer each.

    Args:
        rows: two rows of tokens for each example, the chosen answer's before the rejected one's, each with a target; one of the two may be empty.
        seed: of the order; None keeps that of the examples.
    """

    n_bytes = n_targets = 0

    def __init__(self, rows: Rows, seed: int | None) -> None:
        self.rows, self.context_length, self.notes = rows.rows, rows.context_length, rows.notes
        self.examples: Sequence[Example] = rows.examples
        self.n_blocks = self.n_documents = len(rows.rows) // 2
        self.tokens_per_row = 2 * rows.tokens_per_row
        self.order = EpochOrder(self.n_blocks, seed)

    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:
        """ids, targets, weights, documents and positions (B, T) of pairs ``indices`` of ``epoch``, padded on the right to the longest."""
        return _batch_of([self._pair(int(p)) for p in self.order.rows(epoch, indices)])

    def mismatched(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:
        """The same prompts with the answers of the pair that is next in the epoch, the last one with those of the first; cut to ``context_length``.

        Which answers these are does not depend on how the rows are divided.
        """
        after = (np.asarray(indices) + 1) % self.n_blocks
        prompts, answers = self.order.rows(epoch, indices), self.order.rows(epoch, after)
        made = []
        for p, q in zip(prompts, answers):
            sides = self._pair(int(q))
            there = next(side for side in sides if len(side.ids))  # of a row that has one answer alone, that one
            each = zip(self._pair(int(p)), sides)
            made.append([self._moved(own, other if len(other.ids) else there) if len(own.ids) else own for own, other in each])
        return _batch_of(made)

    def _pair(self, number: int) -> list[Side]:
        ends, ids, targets = (self.rows.arrays[name] for name in ("ids.ends", "ids", "targets"))
        members = 2 * number, 2 * number + 1
        spans = [slice(int(ends[m - 1]) if m else 0, int(ends[m])) for m in members]
        return [Side(ids[there], targets[there]) for there in spans]

    def _moved(self, own: Side, other: Side) -> Side:
        """The prompt of ``own`` with the answer of ``other``."""
        at, there = own.begins, other.begins
        ids = np.concatenate((own.ids[: at + 1], other.ids[there + 1 :]))
        targets = np.concatenate((own.targets[:at], other.targets[there:]))
        return Side(ids[: self.context_length], targets[: self.context_length])


def first_mismatched(rows: object, count: int) -> Callable[[], Batch] | None:
    """Reads ``mismatched`` of the first ``count`` pairs: what an evaluation takes, on every rank and in batches of any size. None of other rows."""
    return (lambda: rows.mismatched(0, range(min(count, rows.n_blocks)))) if isinstance(rows, PairRows) else None


def _batch_of(pairs: Sequence[Sequence[Side]]) -> Batch:
    shape = len(pairs), max(sum(len(side.ids) for side in pair) for pair in pairs)
    ids, targets = np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
    documents, positions = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
    for row, pair in enumerate(pairs):
        at = 0
        for number, side in enumerate(pair):
            there = slice(at, at + len(side.ids))
            ids[row, there], targets[row, there] = side
            documents[row, there], positions[row, there] = number, np.arange(len(side.ids))
            at = there.stop
    give = torch.from_numpy
    valid = documents >= 0
    return Batch(
        give(ids),
        give(targets),
        once_a_row(give(targets)),
        positions=give(positions),
        documents=give(documents),
        valid=None if valid.all() else give(valid),
    )
