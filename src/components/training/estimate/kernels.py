"""Which kernels a run would take on a device, and why: heard from the places that choose, while one micro-batch runs on shapes without numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from components.core.config_types import Config
from components.core.draws import drawn_for
from components.core.errors import UserError
from components.core.makers import ScopedMaker, make, part_values
from components.core.meta import emptied
from components.core.sockets import Batch, Terms
from components.core.traits import counts_tokens, each_turn
from components.functional.chosen import Choice, hearing
from components.functional.experts import even_loads
from components.functional.laid_out import Weights
from components.parts.decoding._loop import writing
from components.training.devices import device_kind, with_precision_of_here
from components.training.estimate.activations import asked_everywhere, batch_of
from components.training.estimate.estimating import Subject
from components.training.estimate.layouts import Layout, layout_of
from components.training.estimate.state import without_watchers
from components.training.estimate.step import step_of
from components.training.limits import trainer_settings
from components.training.tuning import tuned

NEW_TOKENS = 100  # that are written, where the form of decoding depends on it


def kernels_of(config: Config, vocab_size: int) -> dict[str, list[Choice]]:
    """{``training``, ``decoding``: what is chosen there}, on the device and in the precision of the run; of a step one micro-batch on one device.

    Raises:
        UserError: a task that writes no tokens, or a part that reads numbers, so that it cannot run on shapes alone.
    """
    settings = trainer_settings(with_precision_of_here(config).get("trainer") or {})
    subject, layout = Subject(config, vocab_size), layout_of(settings, 1)
    step, _ = step_of(config, settings, layout)
    held = layout.stored if layout.casts else layout.compute
    models = [subject.new_model().to(held) for _ in ("training", "decoding")]
    try:
        with FakeTensorMode(), even_loads(), torch.device(device_kind(settings)):
            return {
                "training": _training(subject, emptied(models[0]).train(), layout, step.rows),
                "decoding": _decoding(subject, emptied(models[1]).eval()),
            }
    except UserError:
        raise
    except Exception as e:  # whatever a part does with numbers that are not there
        what = f"cannot be told from shapes alone: {type(e).__name__}: {e}"
        raise UserError("--kernels", what, "a run says it after its first step") from e


def _training(subject: Subject, model: nn.Module, layout: Layout, rows: int) -> list[Choice]:
    config = subject.config
    loss = make(ScopedMaker(config["loss"], where="loss"), "loss", vocab_size=subject.vocab_size)
    if not counts_tokens(loss):  # its targets are not a token for each position
        loss = outputs
    by_sample = part_values("task", config["task"]).get("dropout_by") == "sample"
    batch = batch_of(model, rows, subject.context)
    with hearing() as heard:
        with drawn_for(0, batch.ids[:, 0] if by_sample else None), _cast(layout, batch.ids.device):
            for _ in each_turn(model):
                try:
                    model(batch, loss)
                except DynamicOutputShapeException:  # the loss picks its targets by what they are
                    model(batch, asked_everywhere)
        node, weights = without_watchers(config["optimizer"]), tuned(model, config)
        optimizer = make(ScopedMaker(node, where="optimizer"), "optimizer", weights=weights)
        for p in model.parameters():
            p.grad = torch.zeros_like(p) if p.requires_grad else None
        optimizer.step()
    return list(heard)


def outputs(hidden: Tensor, head: Callable[[Tensor], Tensor], batch: Batch) -> Terms:
    """In the place of a loss: what the head writes."""
    del batch
    return Terms({"loss": (head(hidden).sum(), torch.ones(()))})


def _decoding(subject: Subject, model: nn.Module) -> list[Choice]:
    """One token, then the form in which a text is written."""
    node: Mapping[str, object] = subject.config.get("decoding") or {}
    weights = part_values("decoding", node).get("weights", "same") if node else "same"
    with hearing() as heard, torch.inference_mode():
        model(batch_of(model, 1, 1))
        with writing(model, cast(Weights, weights), NEW_TOKENS, rows=1):
            pass
    return list(heard)


def _cast(layout: Layout, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, layout.compute) if layout.casts else nullcontext()
