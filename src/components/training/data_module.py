"""Loaders for training and validation. Where a run has come to is the trainer's step alone (``steps.py``): it resumes at step g by starting there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import Sampler

from components.core.errors import UserError
from components.corpus.preparation import Preparation
from components.corpus.steps import EvalBatches, TrainSteps
from components.training.reading import Readers
from components.training.strategies import data_ranks


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

    def train_dataloader(self) -> Readers:
        rank, ranks, accumulate = self.place()
        steps = TrainSteps(self.train, self.batch_size, accumulate, rank, ranks, self.apart, self.preparation)
        return self._loader(Resumable, steps, FromStep(self, self.steps_per_epoch, accumulate))

    def val_dataloader(self) -> Any:
        return self._whole(self.validation) if self.validation is not None else []

    def test_dataloader(self) -> Any:
        return self._whole(self.test) if self.test is not None else []

    def place(self) -> tuple[int, int, int]:
        """(rank, ranks, micro-batches a step): without a trainer one process that reads each step at once."""
        return (0, 1, 1) if self.trainer is None else (*data_ranks(self.trainer), self.trainer.accumulate_grad_batches)

    def _whole(self, blocks: Any) -> Readers:
        rank, ranks, accumulate = self.place()
        rows = max(1, self.batch_size // ranks // accumulate)
        return self._loader(Readers, self.measured(blocks, rows, rank, ranks), None)

    def measured(self, blocks: Any, rows: int, rank: int = 0, ranks: int = 1) -> EvalBatches:
        """The batches of ``rows`` rows in which this rank of ``ranks`` measures a split."""
        most = None if self.limit is None else self.limit * self.batch_size
        return EvalBatches(blocks, rows, rank, ranks, self.apart, most, self.preparation)

    def _loader(self, kind: type[Readers], dataset: Any, sampler: Sampler[int] | None) -> Readers:
        pin = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return kind(dataset, sampler, num_workers=self.workers, pin_memory=pin)

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
