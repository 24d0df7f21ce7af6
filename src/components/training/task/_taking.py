"""Batches of any loader: those of others become ours where they come in, and their step's mean is that over its targets all the same.

Our loaders know the targets of a whole step before its first backward pass. A batch of others knows its own: ranks add theirs up, the first
micro-batch stands for all, and when the step is complete its gradients are multiplied by what was guessed over what was found.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from components.core.collectives import several, summed
from components.core.config_types import part_name
from components.core.errors import UserError
from components.core.sockets import Batch
from components.core.traits import bounded, number_reader, prepare_of, provides, reads_source, reads_token_types
from components.core.weights import generator_for
from components.corpus.batches import totals
from components.corpus.foreign_batches import ForeignBatch, Taken, batch_of
from components.corpus.foreign_targets import WHERE, Form
from components.corpus.framing import frame_of
from components.corpus.special_ids import target_start
from components.corpus.steps import LoneMicroBatch, MicroBatch
from components.training.clipping import multiply_gradients

# Lightning tells everybody whose module and data come together that the module's hook is used: it is meant to be
warnings.filterwarnings("ignore", ".*overridden `on_before_batch_transfer` in `LightningModule`.*")


class Taking:
    """The one door through which a LightningModule's batches come in."""

    _guessed: Tensor | None = None  # (targets, tokens) of the step, as its first micro-batch has them
    _found: Tensor | None = None  # and those of its micro-batches so far, over all ranks

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Before the batch is moved to a device: what is looked at here costs no waiting for it."""
        return self.read(batch)

    def taken(self, given: MicroBatch | Batch | ForeignBatch) -> MicroBatch:
        """A micro-batch with targets. One that came through a trainer is one already."""
        if isinstance(given, MicroBatch):
            return given
        batch = self._batch(given)
        if batch.targets is None:
            raise UserError(WHERE, "there are no targets to learn from or to measure on", "give labels, or (ids, targets)")
        found = totals(batch)
        # where ranks share a step another one may have targets, and asking would make every step wait
        return LoneMicroBatch(batch, found, True if several() else None)

    def ready(self, item: MicroBatch) -> MicroBatch:
        """What is learned from ``item``, in the place of which a task may put rows that its model writes."""
        return item

    def read(self, given: Any) -> MicroBatch | Batch:
        """``given`` as a batch of ours; to predict from, it needs no targets."""
        trainer: Any = self._trainer  # type: ignore[attr-defined]
        if trainer is None or not trainer.predicting or isinstance(given, MicroBatch):
            return self.taken(given)
        if isinstance(given, Batch):
            return given
        batch = batch_of(given, self.form).batch
        if self.form.targets != "text" or batch.source is not None:
            return batch
        begun = torch.tensor(self.form.starts, device=batch.ids.device).expand(len(batch.ids), -1)
        return Batch(begun, source=replace(batch, targets=None))

    # -- what is read ------------------------------------------------------------------------------------------------

    @cached_property
    def form(self) -> Form:
        """What the model and the loss read."""
        module: Any = self
        model, loss, tokenizer = module.placed, module.loss, module.tokenizer
        numbers, frame = number_reader(model), frame_of(tokenizer)
        if provides(loss, "classes"):
            targets = "classes"
        elif provides(loss, "amounts"):
            targets = "amounts"
        elif reads_source(model):
            targets = "text"
        else:
            targets = "in_place" if provides(loss, "hidden_tokens") else "next"
        return Form(
            targets,
            module.vocab_size,
            n_classes=model.head.n_classes if targets == "classes" else None,
            starts=tuple(target_start(tokenizer)),
            framing=(*frame.before, *frame.after),
            end=frame.end,
            longest=model.context_length if bounded(model.modules()) else None,
            token_types=reads_token_types(model),
            values=0 if numbers is None else numbers.d_in,
        )

    def _batch(self, given: Batch | ForeignBatch) -> Batch:
        if isinstance(given, Batch):
            return given  # as the model is to see it
        taken = batch_of(given, self.form)
        prepare = prepare_of(self.loss)  # type: ignore[attr-defined]
        if prepare is None or (taken.chosen and self.form.targets in ("in_place", "text")):
            return self._with_source(taken)
        if taken.chosen:
            name = part_name(self.config["loss"])  # type: ignore[attr-defined]
            raise UserError(
                WHERE,
                f"loss/{name} makes its own targets, and the labels ask for others",
                "leave the labels out, or take another loss",
            )
        return prepare(taken.batch, self._generator(taken.batch))

    def _with_source(self, taken: Taken) -> Batch:
        if self.form.targets == "text" and taken.batch.source is None:
            raise UserError(
                WHERE, "the model reads a source, and there is none", "give input_ids and labels, or (source, target)"
            )
        return taken.batch

    def _generator(self, batch: Batch) -> torch.Generator:
        """What a loss draws from: fixed by the seed, the step and the ids, so that a batch that is measured on is always hidden in the same places."""
        module: Any = self
        trainer = module._trainer
        step = f" in step {trainer.global_step}" if trainer is not None and trainer.training else ""
        ids = hashlib.blake2b(batch.ids.cpu().numpy().tobytes(), digest_size=16).hexdigest()
        return generator_for(module.config["seed"], f"objective of {ids}{step}")

    # -- the mean of a step ------------------------------------------------------------------------------------------

    def begins_step(self, batch_idx: int) -> bool:
        """Whether a micro-batch is the first of its step."""
        trainer: Any = self._trainer  # type: ignore[attr-defined]
        begins = trainer is None or batch_idx % trainer.accumulate_grad_batches == 0
        if begins:
            self._guessed = self._found = None
        return begins

    def whole_step(self, item: MicroBatch) -> Tensor:
        """(targets, tokens) of the step of a micro-batch, those of the other ranks too."""
        if not isinstance(item, LoneMicroBatch):
            return self.step_totals(item)  # type: ignore[attr-defined]
        trainer: Any = self._trainer  # type: ignore[attr-defined]
        found = item.totals
        if several():
            found = summed(found)
        accumulate = 1 if trainer is None else trainer.accumulate_grad_batches
        if accumulate == 1:
            return found
        self._found = found if self._found is None else self._found + found
        guessed = self._guessed
        if guessed is None:
            guessed = self._guessed = found.clamp(min=1) * accumulate
        return guessed

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self._guessed is not None and self._found is not None:
            factor = self._guessed[0] / self._found[0].clamp(min=1e-9)
            multiply_gradients((p for group in optimizer.param_groups for p in group["params"]), factor)


def inside(item: MicroBatch | Batch | Tensor) -> Batch | Tensor:
    """What a model reads of what a loader gives."""
    return item.batch if isinstance(item, MicroBatch) else item
