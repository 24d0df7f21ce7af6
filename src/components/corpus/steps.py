"""Micro-batches of a step and batches of an evaluation. What a step reads depends on (seed, step) alone.

Optimizer step g takes the samples [g*B, (g+1)*B) of an endless stream of permuted epochs. Its rows are divided among
micro-batches and ranks, so workers, devices and accumulation do not change the training data. The loss's draws (masks, spans,
prefixes) are made for all rows of a step at once, and also depend on (seed, step) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from components.core.micro_batches import rows_each
from components.core.sockets import Batch
from components.corpus.batches import joined, rows_of, together, totals, unasked, widened
from components.corpus.preparation import GROUP, Preparation


class RowSource(Protocol):
    """Packed blocks or rows of examples, addressed by number in the order of an epoch."""

    n_blocks: int

    def batch(self, epoch: int, indices: Sequence[int], /) -> Batch: ...


class MicroBatch:
    """A micro-batch with the totals of its whole step: (targets, tokens). It is not a dataclass: Lightning's precision plug-ins
    look into dataclasses, refuse frozen ones, and would round the totals.

    ``asked``: whether the whole step has any target; stored here, so that no device must be read.
    """

    def __init__(self, batch: Batch, totals: Tensor, asked: bool | None = None) -> None:
        self.batch, self.totals = batch, totals
        self.asked = bool(totals[0] != 0) if asked is None else asked

    def to(self, *args: Any, **kwargs: Any) -> MicroBatch:
        return type(self)(self.batch.to(*args, **kwargs), self.totals.to(*args, **kwargs), self.asked)

    def pin_memory(self) -> MicroBatch:
        return type(self)(self.batch.pin_memory(), self.totals.pin_memory(), self.asked)


class LoneMicroBatch(MicroBatch):
    """One that knows its own counts alone: of a loader of others, who do not know the rest of the step."""


class TrainSteps(Dataset[MicroBatch]):
    """Micro-batch i of this rank, with what the whole optimizer step asks: (targets, tokens), summed over micro-batches and ranks."""

    def __init__(
        self,
        blocks: RowSource,
        batch_size: int,
        accumulate: int,
        rank: int,
        ranks: int,
        apart: bool,
        preparation: Preparation | None = None,
    ) -> None:
        self.blocks, self.batch_size, self.accumulate, self.apart = blocks, batch_size, accumulate, apart
        self.preparation = preparation or Preparation()
        self.rank, self.ranks, self.rows = rank, ranks, rows_each(batch_size, accumulate, ranks)
        self._step: tuple[int, Batch, Tensor] | None = None

    def __getitem__(self, index: int) -> MicroBatch:
        step, micro = divmod(index, self.accumulate)
        if self._step is None or self._step[0] != step:
            whole = self.whole(step)
            self._step = step, whole, totals(whole)
        _, whole, total = self._step
        start = (micro * self.ranks + self.rank) * self.rows
        return MicroBatch(rows_of(whole, start, start + self.rows), total)

    def whole(self, step: int) -> Batch:
        """All rows of an optimizer step, those of other ranks too: their targets count in the mean."""
        first, n = step * self.batch_size, self.blocks.n_blocks
        parts: list[Batch] = []
        while len(parts) == 0 or first < (step + 1) * self.batch_size:
            epoch, index = divmod(first, n)
            count = min(n - index, (step + 1) * self.batch_size - first)
            parts.append(self.blocks.batch(epoch, range(index, index + count)))
            first += count
        return self.preparation.step(together(joined(widened(parts)), self.apart), step)


class EvalBatches(Dataset[MicroBatch]):
    """Every block of a split once, in equally many batches on every rank. Filler rows have no targets."""

    def __init__(
        self,
        blocks: RowSource,
        rows: int,
        rank: int,
        ranks: int,
        apart: bool,
        most: int | None = None,
        preparation: Preparation | None = None,
    ) -> None:
        self.blocks, self.rows, self.rank, self.ranks, self.apart = blocks, rows, rank, ranks, apart
        self.wanted = blocks.n_blocks if most is None else min(most, blocks.n_blocks)
        self.length = -(-self.wanted // (rows * ranks))
        self.preparation = preparation or Preparation()
        self._group: tuple[int, Batch] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> MicroBatch:
        if index >= self.length:
            raise IndexError(index)
        start = (index * self.ranks + self.rank) * self.rows
        at = torch.arange(start, start + self.rows)
        there = at < self.wanted
        batch = self.read(torch.where(there, at, 0).tolist())
        if not bool(there.all()):
            batch = replace(batch, targets=unasked(batch.targets, there))
        return MicroBatch(batch, totals(batch))

    def read(self, rows: list[int]) -> Batch:
        """Rows by number. The loss draws for fixed groups of rows, independent of how the rows are divided into batches."""
        if self.preparation.prepare is None:
            return together(self.blocks.batch(0, rows), self.apart)
        parts = []
        for row in rows:
            group, place = divmod(row, GROUP)
            if self._group is None or self._group[0] != group:
                whole = self.blocks.batch(0, range(group * GROUP, min((group + 1) * GROUP, self.blocks.n_blocks)))
                self._group = group, self.preparation.group(together(whole, self.apart), group)
            parts.append(rows_of(self._group[1], place, place + 1))
        return joined(widened(parts))


class PredictBatches(EvalBatches):
    """Every row of a split once and none besides: the last batch may be shorter, and the last ranks may have one batch less."""

    def __len__(self) -> int:
        return -(-max(0, self.wanted - self.rank * self.rows) // (self.rows * self.ranks))

    def __getitem__(self, index: int) -> MicroBatch:
        if index >= len(self):
            raise IndexError(index)
        start = (index * self.ranks + self.rank) * self.rows
        batch = self.read(list(range(start, min(start + self.rows, self.wanted))))
        return MicroBatch(batch, totals(batch))
