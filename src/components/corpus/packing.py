"""Several short examples in one row, apart from one another: less padding, and the same loss.

Bins are filled by best fit, the longest first (Krell et al. 2021, "Efficient sequence packing without cross-contamination", arXiv:2107.02027).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from components.core.sockets import Batch
from components.corpus.example import Example
from components.corpus.order import EpochOrder
from components.corpus.rows import Rows


class PackedRows:
    """Rows of several examples each. An epoch reads each example once, in bins that are the same in every epoch and come in a new order.

    Args:
        rows: one example each, with a target for each position and no source.
        seed: of the order of the bins.
    """

    examples: Sequence[Example] = ()  # a row is no example
    n_bytes = n_targets = 0

    def __init__(self, rows: Rows, seed: int) -> None:
        kind, _, sourced, width = rows.rows.form
        if kind != "tokens" or sourced or width:
            raise ValueError("only rows of tokens, with a target for each position, can be packed")
        self.rows, self.context_length = rows.rows, rows.context_length
        lengths = np.diff(rows.rows.arrays["ids.ends"], prepend=0)
        self.members, self.ends = bins(lengths, self.context_length)
        self.n_blocks, self.n_documents = len(self.ends), rows.n_documents
        self.tokens_per_row = float(lengths.sum()) / self.n_blocks
        self.order = EpochOrder(self.n_blocks, seed)
        alone, packed = (1 - lengths.sum() / (n * self.context_length) for n in (len(lengths), self.n_blocks))
        saved = f"{packed:.0%} of their positions are padding, {alone:.0%} with one in a row"
        self.notes = [
            *rows.notes,
            f"{len(lengths)} examples packed into {self.n_blocks} rows of {self.context_length}: {saved}",
        ]

    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:
        """ids, targets, documents and positions (B, T) of rows ``indices`` of ``epoch``, padded on the right to the longest."""
        chosen = [self.members[self.ends[b - 1] if b else 0 : self.ends[b]] for b in self.order.rows(epoch, indices)]
        ends, flat, asked = (self.rows.arrays[name] for name in ("ids.ends", "ids", "targets"))
        lengths = [ends[m] - np.where(m > 0, ends[m - 1], 0) for m in chosen]
        shape = len(chosen), max(int(n.sum()) for n in lengths)
        ids, targets = np.zeros(shape, np.int64), np.full(shape, -100, np.int64)
        documents, positions = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
        for row, (members, own) in enumerate(zip(chosen, lengths)):
            at = 0
            for number, (member, length) in enumerate(zip(members, own)):
                there, kept = slice(at, at + length), slice(ends[member] - length, ends[member])
                ids[row, there], targets[row, there] = flat[kept], asked[kept]
                documents[row, there], positions[row, there] = number, np.arange(length)
                at += length
        give = torch.from_numpy
        valid = documents >= 0
        return Batch(
            *(give(a) for a in (ids, targets)),
            positions=give(positions),
            documents=give(documents),
            valid=None if valid.all() else give(valid),
        )


def bins(lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Items of ``lengths`` (N,), each at most ``size``, in bins of ``size``.

    Returns:
        (N,) the items, bin after bin, each bin's in their own order; and the end of each bin in them.
    """
    of = np.empty(len(lengths), dtype=np.int64)  # the bin of each item
    waiting: dict[int, list[int]] = {}  # bins by their room
    there = 0  # bit r is set where a bin has a room of r
    opened = 0
    for item in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[item])
        fits = there >> length
        if fits:
            left = length + (fits & -fits).bit_length() - 1  # the least room that is enough
            found = waiting[left].pop()
            if not waiting[left]:
                there &= ~(1 << left)
        else:
            left, found, opened = size, opened, opened + 1
        of[item] = found
        if left > length:
            waiting.setdefault(left - length, []).append(found)
            there |= 1 << (left - length)
    members = np.argsort(of, kind="stable")
    return members, np.cumsum(np.bincount(of, minlength=opened))
