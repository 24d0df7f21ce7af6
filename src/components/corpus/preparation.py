"""A loss may prepare a batch before the model sees it, with random draws for a training step or for rows of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from components.core.sockets import Batch
from components.core.traits import prepare_of
from components.core.weights import generator_for

GROUP = 64  # rows that are prepared together, of a step or of an evaluation, whatever the ranks and the size of batches


class Preparation:
    """Calls the loss's ``prepare``. Its draws depend only on the seed and on the number of the step or rows.

    Args:
        loss: a loss without ``prepare`` leaves every batch as it is.
        seed: the run's.
    """

    def __init__(self, loss: Any = None, seed: int = 0) -> None:
        self.prepare: Callable[[Batch, torch.Generator], Batch] | None = prepare_of(loss)
        self.seed = seed

    def step(self, batch: Batch, step: int, first: int = 0) -> Batch:
        """The rows from the ``first`` on of optimizer step ``step``, at most ``GROUP``."""
        if self.prepare is None:
            return batch
        name = f"objective of step {step}" + (f", rows from {first}" if first else "")
        return self.prepare(batch, generator_for(self.seed, name))

    def group(self, batch: Batch, group: int) -> Batch:
        """The rows from ``group * GROUP`` on of an evaluated split, with the same draws in every evaluation."""
        return batch if self.prepare is None else self.prepare(batch, generator_for(self.seed, f"objective of group {group}"))
