"""A task whose loss compares the model with what it was at the start: the reference is made before anything changes, and asked before each step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from components.core.collectives import summed
from components.core.errors import UserError
from components.core.sockets import Batch, Terms
from components.corpus.batches import rows_of
from components.corpus.steps import MicroBatch
from components.parts.loss._pairs import answers_in
from components.training.strategies import shards_weights
from components.training.task._reference import Reference


class Compared:
    """Beside a task. It is asked outside the model's forward, so that what wraps the model sees one forward a step."""

    reference_kind: ClassVar[type[Reference]] = Reference
    keep_reference: bool = False
    reference: Reference | None = None
    baseline: Tensor | None = None  # of the step, or of the evaluation

    def place(self, model: nn.Module, device: torch.device | str, *, draw: bool = True) -> None:
        """Beside what all tasks do: the start is kept, before a checkpoint or a step changes the model."""
        super().place(model, device, draw=draw)  # type: ignore[misc]  # a task's
        task: Any = self
        if task.loss.compares:
            self.reference = self.reference_kind(task.placed, task.vocab_size, keep=task.keep_reference)

    def compare_with(self, start: nn.Module) -> None:
        """``start`` is the reference: for a model that has been trained before."""
        task: Any = self
        self.reference = self.reference_kind(task.placed, task.vocab_size, keep=False, start=start)

    def need_known_strategy(self, strategy: object) -> None:
        super().need_known_strategy(strategy)  # type: ignore[misc]  # a task's
        task: Any = self
        if task.loss.compares and shards_weights(strategy):
            raise UserError("trainer.strategy", "a reference cannot be divided among ranks yet", "take strategy=ddp")

    def compared(self, item: MicroBatch) -> MicroBatch:
        """``item`` with what the reference says of it, and with the step's baseline where its rows have come along."""
        if self.reference is not None:
            if item.beside is not None:
                self.baseline = self.baseline_of(item.beside, len(item.batch.ids), own=not item.whole)
                item.beside = None
            item.batch = self.reference.beside(item.batch)
            if self.baseline is not None and item.batch.baseline is None:
                item.batch = replace(item.batch, baseline=self.baseline.expand(len(item.batch.ids)))
        return item

    def baseline_of(self, beside: Batch, rows: int, *, own: bool) -> Tensor:
        """The mean of log(policy / reference) over answers to other prompts, at least 0: one number for the whole step.

        Args:
            beside: the pairs; as the model is before the step, without dropout.
            rows: so many at a time.
            own: other ranks have others, which count too.
        """
        assert self.reference is not None
        ratios = torch.cat([self.reference.ratios(rows_of(beside, i, i + rows)) for i in range(0, len(beside.ids), rows)])
        total = torch.stack((ratios.sum(), answers_in(beside).sum().to(ratios.dtype)))
        over, count = summed(total) if own else total
        return (over / count).clamp(min=0)

    def learned_from(self, item: MicroBatch) -> Terms:
        return super().learned_from(self.compared(item))  # type: ignore[misc,no-any-return]
