"""Packed blocks for training and validation: what a step reads is a function of (seed, step) alone.

Optimizer step g takes the samples [g*B, (g+1)*B) of an endless stream of permuted epochs. Its rows are cut into micro-batches and ranks;
so neither workers, nor devices, nor accumulation change what is learnt from, and a run resumes at step g by starting at step g. What the
loss draws (masks, spans, prefixes) is drawn for all rows of a step at once, from (seed, step) as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from components.errors import UserError
from components.sockets import Batch
from components.task.batches import joined, rows_of, together, totals, unasked, widened
from components.task.frame import rows_each
from components.task.objectives import GROUP, Preparation
from components.task.reading import Readers
from components.task.strategies import data_ranks


class Item:
    """A micro-batch, and what the whole step asks: (targets, tokens). A class of its own, since Lightning's precision plug-ins look into
    dataclasses and refuse frozen ones, and would round the totals.

    ``asked``: whether the whole step asks for anything; known here, so that nobody has to read it off a device.
    """

    def __init__(self, batch: Batch, totals: Tensor, asked: bool | None = None) -> None:
        self.batch, self.totals = batch, totals
        self.asked = bool(totals[0] != 0) if asked is None else asked

    def to(self, *args: Any, **kwargs: Any) -> Item:
        return Item(self.batch.to(*args, **kwargs), self.totals.to(*args, **kwargs), self.asked)

    def pin_memory(self) -> Item:
        return Item(self.batch.pin_memory(), self.totals.pin_memory(), self.asked)


class Steps(Dataset):  # type: ignore[type-arg]
    """Micro-batch i of this rank, with what the whole optimizer step asks: (targets, tokens), summed over micro-batches and ranks."""

    def __init__(
        self,
        blocks: Any,
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

    def __getitem__(self, index: int) -> Item:
        step, micro = divmod(index, self.accumulate)
        if self._step is None or self._step[0] != step:
            whole = self.whole(step)
            self._step = step, whole, totals(whole)
        _, whole, total = self._step
        start = (micro * self.ranks + self.rank) * self.rows
        return Item(rows_of(whole, start, start + self.rows), total)

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


class FromStep(Sampler[int]):
    """Micro-batches of one Lightning epoch, from the one that the trainer has come to. The length is that of the whole epoch."""

    def __init__(self, module: Blocked, per_epoch: int, accumulate: int) -> None:
        self.module, self.per_epoch, self.accumulate = module, per_epoch, accumulate

    def __len__(self) -> int:
        return self.per_epoch * self.accumulate

    def __iter__(self) -> Iterator[int]:
        step = self.module.trainer.global_step if self.module.trainer is not None else 0
        end = (step // self.per_epoch + 1) * self.per_epoch
        yield from range(step * self.accumulate, end * self.accumulate)


class Resumable(Readers):
    """A loader whose place is the trainer's step: there is no state of its own to save, which is what this says to Lightning."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state


class Whole(Dataset):  # type: ignore[type-arg]
    """Every block of a split once, cut into equally many batches on every rank; rows that fill up ask for nothing."""

    def __init__(
        self,
        blocks: Any,
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

    def __getitem__(self, index: int) -> Item:
        if index >= self.length:
            raise IndexError(index)
        start = (index * self.ranks + self.rank) * self.rows
        at = torch.arange(start, start + self.rows)
        there = at < self.wanted
        batch = self.read(torch.where(there, at, 0).tolist())
        if not bool(there.all()):
            batch = replace(batch, targets=unasked(batch.targets, there))
        return Item(batch, totals(batch))

    def read(self, rows: list[int]) -> Batch:
        """Rows by number. What the loss draws it draws for groups of them that do not depend on how they are cut into batches."""
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


class Blocked(LightningDataModule):
    """Train, validation and test loaders over ``components.corpus`` blocks.

    Args:
        train: blocks to learn from, in an order of their own each epoch.
        validation: blocks of the validation split, or None.
        test: blocks of the test split, or None.
        batch_size: sequences per optimizer step, over all devices and micro-batches.
        apart: packed documents do not see one another.
        workers: processes that read ahead; order and content do not depend on them.
        limit: at most so many times ``batch_size`` sequences are evaluated.
        identity: what the data are; a checkpoint of other data is refused.
        preparation: what the loss does to each batch first.
    """

    def __init__(
        self,
        train: Any,
        validation: Any = None,
        test: Any = None,
        *,
        batch_size: int,
        apart: bool = True,
        workers: int = 0,
        limit: int | None = None,
        identity: str = "",
        preparation: Preparation | None = None,
    ) -> None:
        super().__init__()
        self.preparation = preparation
        self.train, self.validation, self.test = train, validation, test
        self.batch_size, self.apart, self.workers, self.limit, self.identity = batch_size, apart, workers, limit, identity
        self.steps_per_epoch = max(1, train.n_blocks // batch_size)

    def limit_steps(self, steps: int) -> None:
        """Make Lightning's epoch that many optimizer steps; what is read does not change."""
        self.steps_per_epoch = steps

    @property
    def validated(self) -> str | None:
        """How much of its split a validation measures, in words; None: all of it."""
        rows = 0 if self.validation is None else self.validation.n_blocks
        most, by = (rows, "") if self.limit is None else (self.limit * self.batch_size, "task.validation_batches")
        share = 1.0 if self.trainer is None else self.trainer.limit_val_batches
        _, ranks, accumulate = self.place()
        each = max(1, self.batch_size // ranks // accumulate) * ranks
        batches = share if isinstance(share, int) else int(share * -(-min(most, rows) // each))
        if batches * each < min(most, rows):
            most, by = batches * each, "trainer.limit_val_batches"
        return f"{most:,} of {rows:,} rows ({by})" if most < rows else None

    def train_dataloader(self) -> DataLoader:  # type: ignore[type-arg]
        rank, ranks, accumulate = self.place()
        steps = Steps(self.train, self.batch_size, accumulate, rank, ranks, self.apart, self.preparation)
        return self._loader(Resumable, steps, FromStep(self, self.steps_per_epoch, accumulate))

    def val_dataloader(self) -> Any:
        return self._whole(self.validation) if self.validation is not None else []

    def test_dataloader(self) -> Any:
        return self._whole(self.test) if self.test is not None else []

    def place(self) -> tuple[int, int, int]:
        """(rank, ranks, micro-batches a step): without a trainer one process that reads each step at once."""
        return (0, 1, 1) if self.trainer is None else (*data_ranks(self.trainer), self.trainer.accumulate_grad_batches)

    def _whole(self, blocks: Any) -> DataLoader:  # type: ignore[type-arg]
        rank, ranks, accumulate = self.place()
        rows = max(1, self.batch_size // ranks // accumulate)
        return self._loader(Readers, self.measured(blocks, rows, rank, ranks), None)

    def measured(self, blocks: Any, rows: int, rank: int = 0, ranks: int = 1) -> Whole:
        """The batches of ``rows`` rows in which this rank of ``ranks`` measures a split."""
        most = None if self.limit is None else self.limit * self.batch_size
        return Whole(blocks, rows, rank, ranks, self.apart, most, self.preparation)

    def _loader(self, kind: Any, dataset: Any, sampler: Any) -> DataLoader:  # type: ignore[type-arg]
        # without a generator of its own a loader draws a seed from the global one, and a resumed run would differ
        own = torch.Generator().manual_seed(0)
        pin = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return kind(dataset, batch_size=None, sampler=sampler, num_workers=self.workers, generator=own, pin_memory=pin)

    def state_dict(self) -> dict[str, Any]:
        step = self.trainer.global_step if self.trainer is not None else 0
        return {"samples": step * self.batch_size, "batch_size": self.batch_size, "identity": self.identity}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["identity"] != self.identity:
            raise UserError(
                "resume",
                f"the data are not those of the run: {self.identity} instead of {state_dict['identity']}",
                "start anew with init_from=",
            )
