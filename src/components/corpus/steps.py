"""Micro-batches of a step and batches of an evaluation. What a step reads depends on (seed, step) alone.

Optimizer step g takes the samples [g*B, (g+1)*B) of an endless stream of permuted epochs. Its rows are divided among
micro-batches and ranks, so workers, devices and accumulation do not change the training data. A rank reads its own rows alone: the work for a
batch does not grow with the number of ranks. The loss's draws (masks, spans, prefixes) are made for groups of rows and depend on
(seed, step, group) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


Read = Callable[[int, Sequence[int]], Batch]  # (epoch, numbers of rows in it)


class MicroBatch:
    """A micro-batch with totals of its step: (targets, tokens). It is not a dataclass: Lightning's precision plug-ins
    look into dataclasses, refuse frozen ones, and would round the totals.

    Args:
        batch: the rows.
        totals: over the whole step, or over what this rank reads of it.
        asked: whether ``totals`` count any target; stored here, so that no device must be read.
        whole: whether ``totals`` are those of the whole step. If not, ranks add theirs up.
        first: whether it is the first of its step on this rank.
        samples: (B,) int64, the number of each row in the endless stream of epochs; None where nobody counts them.
        beside: other rows that the step's loss depends on, all that this rank reads of them, with the first micro-batch of a step.
    """

    def __init__(
        self,
        batch: Batch,
        totals: Tensor,
        asked: bool | None = None,
        *,
        whole: bool = True,
        first: bool = True,
        samples: Tensor | None = None,
        beside: Batch | None = None,
    ) -> None:
        self.batch, self.totals, self.whole, self.first, self.samples = batch, totals, whole, first, samples
        self.beside = beside
        self.asked = bool(totals[0]) if asked is None else asked

    def to(self, *args: Any, **kwargs: Any) -> MicroBatch:
        if args == (self.totals.device,):  # Lightning asks on the CPU too
            return self
        samples = None if self.samples is None else self.samples.to(*args, **kwargs)
        beside = None if self.beside is None else self.beside.to(*args, **kwargs)
        return self._with(self.batch.to(*args, **kwargs), self.totals.to(*args, **kwargs), samples, beside)

    def pin_memory(self) -> MicroBatch:
        samples = None if self.samples is None else self.samples.pin_memory()
        beside = None if self.beside is None else self.beside.pin_memory()
        return self._with(self.batch.pin_memory(), self.totals.pin_memory(), samples, beside)

    def _with(self, batch: Batch, totals: Tensor, samples: Tensor | None, beside: Batch | None) -> MicroBatch:
        return MicroBatch(batch, totals, self.asked, whole=self.whole, first=self.first, samples=samples, beside=beside)


class LoneMicroBatch(MicroBatch):
    """One that knows its own counts alone: of a loader of others, who do not know the rest of the step, or of rows that have just been written."""

    def __init__(self, batch: Batch, totals: Tensor, asked: bool | None = None, samples: Tensor | None = None) -> None:
        super().__init__(batch, totals, asked, whole=False, samples=samples)

    def _with(self, batch: Batch, totals: Tensor, samples: Tensor | None, beside: Batch | None) -> MicroBatch:
        del beside  # it has none
        return LoneMicroBatch(batch, totals, self.asked, samples)


class TrainSteps(Dataset[MicroBatch]):
    """Micro-batch i of this rank, with what its rows of the optimizer step ask for: (targets, tokens), summed over its micro-batches.

    ``beside`` reads other rows of the same numbers, which come with the first micro-batch of a step.
    """

    def __init__(
        self,
        blocks: RowSource,
        batch_size: int,
        accumulate: int,
        rank: int,
        ranks: int,
        apart: bool,
        preparation: Preparation | None = None,
        beside: Read | None = None,
    ) -> None:
        self.blocks, self.batch_size, self.accumulate, self.apart = blocks, batch_size, accumulate, apart
        self.preparation, self.beside = preparation or Preparation(), beside
        self.rank, self.ranks, self.rows = rank, ranks, rows_each(batch_size, accumulate, ranks)
        self._step: tuple[int, Batch, Tensor] | None = None

    def __getitem__(self, index: int) -> MicroBatch:
        step, micro = divmod(index, self.accumulate)
        if self._step is None or self._step[0] != step:
            own = self.own(step)
            self._step = step, own, totals(own)
        _, own, total = self._step
        start, places = micro * self.rows, self._places(micro)
        samples = step * self.batch_size + torch.arange(places.start, places.stop)
        own = rows_of(own, start, start + self.rows)
        beside = self._read(step, self._own_places(), self.beside) if micro == 0 and self.beside is not None else None
        return MicroBatch(own, total, whole=self.ranks == 1, first=micro == 0, samples=samples, beside=beside)

    def own(self, step: int) -> Batch:
        """This rank's rows of an optimizer step, micro-batch after micro-batch."""
        if self.preparation.prepare is None:
            return self._read(step, self._own_places(), self.blocks.batch)
        runs = [self._places(m) for m in range(self.accumulate)]
        made: dict[int, Batch] = {}
        parts = []
        for run in runs:
            for group in range(run.start // GROUP, (run.stop - 1) // GROUP + 1):
                first, end = group * GROUP, min((group + 1) * GROUP, self.batch_size)
                if group not in made:
                    made[group] = self.preparation.step(self._read(step, range(first, end), self.blocks.batch), step, first)
                parts.append(rows_of(made[group], max(run.start, first) - first, min(run.stop, end) - first))
        return joined(widened(parts))

    def _places(self, micro: int) -> range:
        """Where in the step the rows of a micro-batch of this rank stand."""
        start = (micro * self.ranks + self.rank) * self.rows
        return range(start, start + self.rows)

    def _own_places(self) -> list[int]:
        return [place for m in range(self.accumulate) for place in self._places(m)]

    def _read(self, step: int, places: Sequence[int], read: Read) -> Batch:
        """Rows of a step by their places in it, which may lie in several epochs."""
        epochs: dict[int, list[int]] = {}
        for place in places:
            epoch, index = divmod(step * self.batch_size + place, self.blocks.n_blocks)
            epochs.setdefault(epoch, []).append(index)
        parts = [read(epoch, indices) for epoch, indices in epochs.items()]
        return together(joined(widened(parts)), self.apart)


class EvalBatches(Dataset[MicroBatch]):
    """Every block of a split once, in equally many batches on every rank. Filler rows have no targets.

    ``beside`` gives rows that come with the first batch, the same ones on every rank.
    """

    def __init__(
        self,
        blocks: RowSource,
        rows: int,
        rank: int,
        ranks: int,
        apart: bool,
        most: int | None = None,
        preparation: Preparation | None = None,
        beside: Callable[[], Batch] | None = None,
    ) -> None:
        self.blocks, self.rows, self.rank, self.ranks, self.apart, self.beside = blocks, rows, rank, ranks, apart, beside
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
        beside = self.beside() if index == 0 and self.beside is not None else None
        return MicroBatch(batch, totals(batch), beside=beside)

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
