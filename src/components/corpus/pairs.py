"""Pairs of answers as rows: one pair a row, the chosen answer its document 0 and the rejected one its document 1.

So whatever counts, divides and orders rows does the same with pairs, and a step of n rows is one mean over n pairs: the weights of a row's targets
add up to 1 (docs/decisions/a-pair-is-one-row.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from components.core.sockets import Batch
from components.corpus.example import Example
from components.corpus.order import EpochOrder
from components.corpus.rows import Rows

CHOSEN, REJECTED = 0, 1  # the numbers of the documents of a row


class PairRows:
    """Rows of two documents, prompt and answer each.

    Args:
        rows: two rows of tokens for each example, the chosen answer's before the rejected one's, each with a target.
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
        pairs = np.asarray(self.order.rows(epoch, indices))
        members = np.stack((2 * pairs, 2 * pairs + 1), 1)
        ends, flat, asked = (self.rows.arrays[name] for name in ("ids.ends", "ids", "targets"))
        lengths = ends[members] - np.where(members > 0, ends[members - 1], 0)
        shape = len(members), int(lengths.sum(1).max())
        ids, targets = np.zeros(shape, np.int64), np.full(shape, -100, np.int64)
        documents, positions = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
        for row, (own, sizes) in enumerate(zip(members, lengths)):
            at = 0
            for number, (member, length) in enumerate(zip(own, sizes)):
                there, kept = slice(at, at + length), slice(ends[member] - length, ends[member])
                ids[row, there], targets[row, there] = flat[kept], asked[kept]
                documents[row, there], positions[row, there] = number, np.arange(length)
                at += length
        # all of a pair's weight is at its first target: a sum of n equal shares would not be 1 to the last bit
        weights = np.zeros(shape, np.float32)
        weights[np.arange(len(members)), (targets != -100).argmax(1)] = 1.0
        give = torch.from_numpy
        valid = documents >= 0
        return Batch(
            *(give(a) for a in (ids, targets, weights)),
            positions=give(positions),
            documents=give(documents),
            valid=None if valid.all() else give(valid),
        )
