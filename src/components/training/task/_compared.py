"""A task whose loss compares the model with what it was at the start: the reference is made before anything changes, and asked before each step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from components.core.errors import UserError
from components.core.sockets import Terms
from components.corpus.steps import MicroBatch
from components.training.strategies import shards_weights
from components.training.task._reference import Reference


class Compared:
    """Beside a task. It is asked outside the model's forward, so that what wraps the model sees one forward a step."""

    reference: Reference | None = None

    def place(self, model: nn.Module, device: torch.device | str, *, draw: bool = True) -> None:
        """Beside what all tasks do: the start is kept, before a checkpoint or a step changes the model."""
        super().place(model, device, draw=draw)  # type: ignore[misc]  # a task's
        task: Any = self
        if task.loss.compares:
            self.reference = Reference(task.placed, task.vocab_size, keep=task.keep_reference)

    def configure_model(self) -> None:
        task: Any = self
        if task.loss.compares and shards_weights(task.trainer.strategy):
            raise UserError("trainer.strategy", "a reference cannot be divided among ranks yet", "take strategy=ddp")
        super().configure_model()  # type: ignore[misc]

    def compared(self, item: MicroBatch) -> MicroBatch:
        """``item`` with what the reference says of it."""
        if self.reference is not None:
            item.batch = self.reference.beside(item.batch)
        return item

    def learned_from(self, item: MicroBatch) -> Terms:
        return super().learned_from(self.compared(item))  # type: ignore[misc,no-any-return]
