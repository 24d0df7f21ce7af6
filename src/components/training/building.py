"""Loaders over prepared data, with the checks that model, data and task fit one another."""

from __future__ import annotations

import logging
import warnings

from torch import nn

from components.core.errors import UserError
from components.core.sockets import Batch
from components.core.traits import number_reader, provides
from components.corpus.preparation import Preparation
from components.runs.preparing import examples_of, of_data
from components.runs.task_module import AnyCorpus, TaskModule
from components.training.data_module import PackedDataModule
from components.training.objectives import need_layers, need_logits, need_source


def data_of(module: TaskModule, corpus: AnyCorpus, context: int, seed: int) -> PackedDataModule:
    """The loaders of a task over its corpus.

    Raises:
        UserError: the model reads something that batches do not have, or the validation rows have no target.
    """
    with of_data(module.config):
        train, preparation = module.blocks(corpus, "train", context, seed), Preparation(module.loss, seed)
        assert train is not None  # a corpus has something to train on
        model = module.built[0] if module.built else module.model
        module.check(model, corpus)
        need_logits(model, module.loss)
        need_layers(module, model)
        first = preparation.step(train.batch(0, [0]), 0)
        need_source(module, model, first)
        need_width(model, first)
        validation, test = module.blocks(corpus, "validation", context), module.blocks(corpus, "test", context)
    module.measured_on = examples_of(validation)
    made = PackedDataModule(
        train,
        validation,
        test,
        batch_size=module.batch_size,
        apart=module.documents == "apart",
        workers=module.num_workers,
        limit=module.validation_batches,
        identity=corpus.hash,
        preparation=preparation,
        mismatched=module.loss.mismatches,
        moved=not any(provides(module.loss, word) for word in ("classes", "amounts", "hidden_tokens")),
    )
    if validation is not None and not any(item.asked for item in made.measured(validation, module.batch_size)):
        raise UserError(
            "task.validation_fraction",
            "the validation rows have no target, so there is nothing to measure",
            "hold out more, or nothing: task.validation_fraction=0",
        )
    return made


def settle_rows(module: TaskModule, context: int) -> None:
    """How many rows a step has, where the task says it in tokens."""
    if module.batch_tokens is not None:
        module.batch_size = max(1, module.batch_tokens // context)


def need_width(model: nn.Module, batch: Batch) -> None:
    """UserError if a position has more or fewer numbers than the model reads."""
    reads = number_reader(model)
    if reads is not None and batch.values is not None and batch.values.shape[-1] != reads.d_in:
        given = batch.values.shape[-1]
        raise UserError(
            "data",
            f"a row has {given:,} numbers, and the model reads {reads.d_in:,}",
            f"set model.d_model={given}, or name columns",
        )


def quiet_lightning() -> None:
    """Silence Lightning's hints, and the warnings that every run would print."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(name).propagate = False
    for text in (
        ".*LeafSpec.*",
        ".*Total length of.*",
        ".*does not have many workers.*",
        ".*litlogger.*",
        ".*returned a view.*",
        ".*lr_scheduler.step.*before.*optimizer.step.*",  # the first step has no target, which the run itself reports
        ".*`val_dataloader`.*many workers.*",
    ):
        warnings.filterwarnings("ignore", text)
