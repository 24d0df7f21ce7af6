"""Loaders for training and validation. Their only state is the trainer's step (``corpus/steps.py``): to resume at step g they start there.

Any ``lightning.Trainer`` reads from them. What it would do to the loaders of others (divide them among ranks, take a share of an epoch) is done
here already, and Lightning asks by class whether it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from components.core.errors import UserError
from components.corpus.pairs import PairRows, first_mismatched
from components.corpus.plain_batches import PlainBatches
from components.corpus.preparation import Preparation
from components.corpus.steps import EvalBatches, MicroBatch, PredictBatches, TrainSteps
from components.runs.task_module import Rows
from components.training.epochs import need_one_accumulation, overfitting, steps_in
from components.training.reading import Readers
from components.training.samplers import Divided
from components.training.strategies import data_ranks, shards_weights


class StepSampler(Divided):
    """Numbers of the micro-batches of one Lightning epoch, from the trainer's step on. The length is that of the whole epoch."""

    def __init__(self, module: PackedDataModule, per_epoch: int, accumulate: int) -> None:
        super().__init__(per_epoch * accumulate)
        self.module, self.per_epoch, self.accumulate, self.passed = module, per_epoch, accumulate, 0

    def __iter__(self) -> Iterator[int]:
        trainer = self.module.trainer
        if trainer is None and self.module.as_dictionaries:  # nobody counts steps: each pass is the next epoch
            first, self.passed = self.passed * len(self), self.passed + 1
            yield from range(first, first + len(self))
            return
        step = self.module.step if trainer is None else trainer.global_step
        # Lightning itself stops at its share of the epoch; the next one goes on with what comes then
        per_epoch = self.per_epoch if trainer is None else steps_in(trainer, self.per_epoch)
        if trainer is not None and overfitting(trainer):
            yield from range(step % per_epoch * self.accumulate, per_epoch * self.accumulate)  # the same in each epoch
            return
        end = (step // per_epoch + 1) * per_epoch
        yield from range(step * self.accumulate, end * self.accumulate)


class Resumable(Readers):
    """A loader without a state of its own, since its place is the trainer's step. Lightning sees an empty state."""

    place: tuple[int, int, int] = (0, 1, 1)  # the rank, the ranks and the micro-batches of a step that it is made for

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        del state


class Once:
    """The batches of a loader, as a plain iterable."""

    def __init__(self, loader: Readers) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[MicroBatch]:
        return iter(self.loader)


AnyReaders = TypeVar("AnyReaders", bound=Readers)


class PackedDataModule(LightningDataModule):
    """Train, validation and test loaders over rows of ``components.corpus``.

    Args:
        train: rows to learn from, in a new order each epoch.
        validation: rows of the validation split, or None.
        test: rows of the test split, or None.
        batch_size: rows of an optimizer step, over all devices and micro-batches.
        apart: packed documents do not see one another.
        workers: processes that read ahead. Order and content do not depend on their number.
        limit: a validation reads at most this many times ``batch_size`` rows.
        identity: a hash of the data. A checkpoint with another one is refused.
        preparation: what the loss does to each batch before the model sees it.
        moved: whether a target is the token after that on which it lies, and not a hidden one or a row's.
        mismatched: each step brings the answers to other prompts along (``PairRows.mismatched``), and so does the first batch of an evaluation.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows | None = None,
        test: Rows | None = None,
        *,
        batch_size: int,
        apart: bool = True,
        workers: int = 0,
        limit: int | None = None,
        identity: str = "",
        preparation: Preparation | None = None,
        moved: bool = True,
        mismatched: bool = False,
    ) -> None:
        super().__init__()
        self.preparation, self.moved, self.mismatched = preparation, moved, mismatched
        self.as_dictionaries = False
        self.train, self.validation, self.test = train, validation, test
        self.batch_size, self.apart, self.workers, self.limit, self.identity = batch_size, apart, workers, limit, identity
        self._limited: int | None = None
        self._alone, self.step = (0, 1, 1), 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in a Lightning epoch. ``batch_size`` may change, as Lightning's BatchSizeFinder does."""
        return max(1, self.train.n_blocks // self.batch_size) if self._limited is None else self._limited

    def limit_steps(self, steps: int) -> None:
        """Set the number of optimizer steps in a Lightning epoch. What is read does not change."""
        self._limited = steps

    def plain(self) -> PackedDataModule:
        """The same rows in the same order, as dictionaries (``input_ids``, ``labels``, ...) for a model of Hugging Face's or a loop of one's own.

        Labels lie on the tokens that they name, as Hugging Face's models take them. Every pass over the training loader is another epoch.
        """
        made = copy.copy(self)
        made.as_dictionaries = True
        return made

    def bytes_and_targets(self, split: str) -> tuple[int, int]:
        """Of the whole ``validation`` or ``test`` split, for bits per byte."""
        rows = self.test if split == "test" else self.validation
        return (0, 0) if rows is None else (rows.n_bytes, rows.n_targets)

    @property
    def validated(self) -> str | None:
        """How much of the split a validation reads, in words; None if all of it."""
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
        if self.trainer is not None:
            need_one_accumulation(self.trainer)
            steps_in(self.trainer, self.steps_per_epoch)
        beside = self.train.mismatched if self.mismatched and isinstance(self.train, PairRows) else None
        steps = TrainSteps(self.train, self.batch_size, accumulate, rank, ranks, self.apart, self.preparation, beside)
        made = self._loader(Resumable, steps, StepSampler(self, self.steps_per_epoch, accumulate))
        made.place = rank, ranks, accumulate
        return made

    def val_dataloader(self) -> Readers | list[Readers]:
        return self._whole(self.validation) if self.validation is not None else []

    def test_dataloader(self) -> Readers | list[Readers]:
        return self._whole(self.test) if self.test is not None else []

    def predict_dataloader(self) -> Iterable[MicroBatch]:
        """Each row of the test split once, of the validation split where there is no test split.

        Raises:
            UserError: nothing is held out, or the weights lie in shards on several ranks, which would have to ask equally often.
        """
        blocks = self.test if self.test is not None else self.validation
        if blocks is None:
            raise UserError("predict", "no row is held out", "set task.test_fraction above 0, or give dataloaders=")
        rank, ranks, _ = self.place()
        if ranks > 1 and self.trainer is not None and shards_weights(self.trainer.strategy):
            raise UserError("predict", "each rank holds a shard of the weights, and has other rows", "predict on one device")
        rows = max(1, self.batch_size // ranks)
        dataset = PredictBatches(blocks, rows, rank, ranks, self.apart, None, self.preparation)
        # Lightning makes every loader of predictions anew, and knows no argument of ours
        return Once(self._loader(Readers, dataset, Divided(len(dataset))))

    def place_in_loop(self, *, rank: int = 0, ranks: int = 1, accumulate: int = 1, step: int = 0) -> None:
        """Where a loop without a trainer stands: loaders made after this read for it.

        Args:
            rank: of this process, among those that read different rows.
            ranks: their number.
            accumulate: micro-batches whose gradients are added up to a step.
            step: optimizer steps that are done; an epoch's loader ends with the epoch, so say it before the next.
        """
        self._alone, self.step = (rank, ranks, accumulate), step

    def place(self) -> tuple[int, int, int]:
        """(rank, ranks, micro-batches a step). Without a trainer: what ``place_in_loop`` has said, else one process that reads steps whole."""
        return self._alone if self.trainer is None else (*data_ranks(self.trainer), self.trainer.accumulate_grad_batches)

    def _whole(self, blocks: Rows) -> Readers:
        rank, ranks, accumulate = self.place()
        rows = max(1, self.batch_size // ranks // accumulate)
        dataset = self.measured(blocks, rows, rank, ranks)
        return self._loader(Readers, dataset, Divided(len(dataset)))

    def measured(self, blocks: Rows, rows: int, rank: int = 0, ranks: int = 1) -> EvalBatches:
        """The batches, ``rows`` rows each, in which rank ``rank`` of ``ranks`` reads a split."""
        most = None if self.limit is None else self.limit * self.batch_size
        beside = first_mismatched(blocks, self.batch_size) if self.mismatched else None
        return EvalBatches(blocks, rows, rank, ranks, self.apart, most, self.preparation, beside)

    def _loader(self, kind: type[AnyReaders], dataset: Dataset[MicroBatch], sampler: Divided) -> AnyReaders:
        pin = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        read: Any = PlainBatches(dataset, moved=self.moved) if self.as_dictionaries else dataset
        return kind(read, sampler, num_workers=self.workers, pin_memory=pin)

    def state_dict(self) -> dict[str, object]:
        step = self.trainer.global_step if self.trainer is not None else 0
        place = {"samples": step * self.batch_size, "batch_size": self.batch_size}
        return {**place, "identity": self.identity, "order": self.train.order.how}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["identity"] != self.identity:
            raise UserError(
                "resume",
                f"the data are not those of the run: {self.identity} instead of {state_dict['identity']}",
                "start anew with init_from=",
            )
        self.train.order.how = state_dict.get("order", "dealt")  # what runs of before have not written, they have dealt
