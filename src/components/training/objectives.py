"""What a loss may need from the trainer: batches prepared before the model sees them, ids beyond the tokenizer's, a teacher.

``prepare(batch, generator)`` changes the rows of a whole optimizer step, before they are cut into micro-batches and ranks. ``extra_tokens``
is the number of ids beyond the tokenizer's. ``likelihood`` says whether the mean is over the whole text, left to right. A loss that
``NeedsModel`` gets the model of its ``run``, one that ``NeedsModels`` those of its ``runs``.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from torch import nn

from components.core.abilities import NeedsModels
from components.core.config_types import Config
from components.core.contracts import NeedsModel
from components.core.errors import UserError
from components.core.sockets import Batch, Layer
from components.core.traits import asked_of, provides, reads_source
from components.corpus.tokens import Tokens, same_tokens


class Asking(Protocol):
    """What is asked of a task here."""

    config: Config
    tokenizer: Tokens
    loss: Any
    activation_checkpointing: bool | int | Literal["selective"]
    compile_layers: bool


def reads_whole(loss: Any) -> bool:
    """Whether the loss reads documents with everything that the tokenizer puts around them, and hides tokens of the text itself."""
    return loss.whole


def need_source(task: Asking, model: nn.Module, first: Batch) -> None:
    """UserError if the model reads a source, and neither data nor loss give one. ``first``: a batch as the model sees it."""
    if reads_source(model) and first.source is None:
        raise UserError(
            "loss",
            f"{type(model).__name__} reads a source, and the batches of loss/{task.config['loss']['name']} have none",
            "take loss=span_corruption or loss=seq2seq, or a decoder",
        )


def need_logits(model: nn.Module, loss: object) -> None:
    """UserError if the model has no head, or one whose numbers are no logits of tokens for a loss that reads those."""
    model = asked_of(model)
    if any(provides(m, "vectors") for m in model.children()):
        raise UserError(
            "model.head", "head/none gives hidden vectors, and a loss needs logits", "choose a head: model/head=tied"
        )
    reads = next((word for word in ("tokens", "hidden_tokens", "pairs", "groups") if provides(loss, word)), "")
    other = next((word for word in ("amounts", "classes") if any(provides(m, word) for m in model.children())), "")
    if reads and other:
        what = f"it gives {other}, and the loss reads logits of tokens"
        raise UserError("model.head", what, "choose a head for tokens: model/head=tied")


def need_layers(task: Asking, model: nn.Module) -> None:
    """UserError if layers are to be recomputed or compiled, and the model has none."""
    asked = {"activation_checkpointing": task.activation_checkpointing, "compile": task.compile_layers}
    if any(asked.values()) and not any(isinstance(m, Layer) for m in model.modules()):
        option = next(name for name, value in asked.items() if value)
        name = task.config["model"]["name"]
        raise UserError(f"task.{option}", f"model/{name} has no layers of its own, so this would do nothing", "leave it out")


def teacher_for(task: Asking) -> nn.Module | None:
    """The teacher of the task's loss, or an nn.ModuleList of its teachers, frozen and on the CPU; None if the loss has none.

    Raises:
        UserError: there is no such run, or it has another tokenizer.
    """
    if isinstance(task.loss, NeedsModels):
        return nn.ModuleList(_teacher(task, str(run), f"loss.teachers.{i}") for i, run in enumerate(task.loss.runs))
    return _teacher(task, str(task.loss.run), "loss.teacher") if isinstance(task.loss, NeedsModel) else None


def _teacher(task: Asking, run: str, where: str) -> nn.Module:
    from components.runs.checkpoints import tokenizer_files
    from components.runs.loading import open_model

    try:
        loaded = open_model(run)
    except UserError as e:
        raise UserError(where, str(e)) from e
    if not same_tokens(tokenizer_files(loaded.tokenizer), tokenizer_files(task.tokenizer)):
        raise UserError(
            where,
            f"the tokenizer of {run} is another one",
            f"take its: tokenizer=of_run tokenizer.run={run}",
        )
    return loaded.model.requires_grad_(False)
