"""What ``trace`` reads: a model by itself or with a tokenizer, and ids or texts, as one batch on the model's device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from components.core.errors import UserError
from components.core.sockets import Batch
from components.explain.asking import Asked, ask
from components.explain.subject import Loaded, Subject, subject_of
from components.generation.generating import together


def model_of(model: nn.Module | Loaded | str | Path) -> tuple[nn.Module, Subject | None]:
    """The module, and what is known around it where it is no module alone."""
    if isinstance(model, nn.Module):
        return model, None
    subject = subject_of(model)
    return subject.model, subject


def batch_of(
    ids: Tensor | Batch | str | Sequence[str], model: nn.Module, subject: Subject | None
) -> tuple[Tensor | Batch, list[list[str]] | None]:
    """(the batch, the texts of its ids where a text was given).

    Raises:
        UserError: a text, and no tokenizer to read it with; no text at all; or texts of different kinds together.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if isinstance(ids, (Tensor, Batch)):
        return ids.to(device), None
    if subject is None:
        raise UserError(
            "ids", "a model alone has no tokenizer", "give ids (B, T), or what components.load returns as the model"
        )
    texts = [ids] if isinstance(ids, str) else list(ids)
    if not texts or not all(isinstance(t, str) for t in texts):
        raise UserError("ids", "there is no text in it", "give ids (B, T) as a tensor, a text, or a list of texts")
    asked = [ask(subject, text, new_tokens=0, seed=0) for text in texts]
    width = max(len(a.ids) for a in asked)
    tokens = [[a.words.text(i) for i in a.ids] + [""] * (width - len(a.ids)) for a in asked]
    return _joined(asked, device), tokens


def _joined(asked: Sequence[Asked], device: torch.device) -> Batch:
    """Rows of different lengths are padded on the right, and ``valid`` says where."""
    batches = [a.batch for a in asked]
    if len(batches) == 1:
        return batches[0].to(device)
    if any(b.values is not None for b in batches):
        raise UserError("ids", "this model reads numbers", "give one row of them, or a Batch with values")
    joined = together([b.ids[0].tolist() for b in batches], device, left=False)
    if any(b.source is None for b in batches):
        return joined
    sources = [b.source.ids[0].tolist() for b in batches if b.source is not None]
    return Batch(joined.ids, valid=joined.valid, source=together(sources, device, left=False))
