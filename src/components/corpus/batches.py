"""Cut, join, count and pad batches: what a step and its micro-batches do with rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.sockets import Batch
from components.functional.cross_entropy import IGNORED


def totals(batch: Batch) -> Tensor:
    """(weight of all targets, number of tokens)."""
    assert batch.targets is not None
    tokens = tokens_in(batch)
    counted = batch.weights is None and not batch.targets.is_floating_point() and isinstance(tokens, int)
    if counted and type(batch.targets) is Tensor and batch.targets.device.type == "cpu":
        # a small model's step is not much longer than six calls of torch
        return torch.tensor((float(np.count_nonzero(batch.targets.numpy() != IGNORED)), float(tokens)))
    asked = ~batch.targets.isnan() if batch.targets.is_floating_point() else batch.targets != IGNORED
    weight = asked.sum() if batch.weights is None else (batch.weights * asked).sum()
    return torch.stack((weight.float(), torch.as_tensor(tokens).float()))


def tokens_in(batch: Batch) -> Tensor | int:
    """The number of valid tokens, the source's included. Layers' losses are means over these."""
    own = batch.ids.numel() if batch.valid is None else batch.valid.sum()
    return own if batch.source is None else own + tokens_in(batch.source)


def once_a_row(targets: Tensor) -> Tensor:
    """(B, T) weights that add up to 1 in each row with targets: all of it is at its first one, since a sum of n equal shares would not be 1 to the last bit."""
    asked = targets != IGNORED
    first = torch.zeros(targets.shape, device=targets.device)
    return first.scatter_(1, asked.int().argmax(1, keepdim=True), 1.0) * asked


def ids_of(batch: Batch) -> list[list[int]]:
    """The ids of each row, without its padding."""
    kept = torch.ones_like(batch.ids, dtype=torch.bool) if batch.valid is None else batch.valid
    return [row[there].tolist() for row, there in zip(batch.ids, kept)]


def unasked(targets: Tensor | None, there: Tensor) -> Tensor:
    """The batch with targets only in the rows that are ``there``."""
    assert targets is not None
    kept = there.view(-1, *[1] * (targets.dim() - 1))
    return torch.where(kept, targets, float("nan") if targets.is_floating_point() else IGNORED)


def together(batch: Batch, apart: bool) -> Batch:
    """The batch as it is, or with each row as one document."""
    return batch if apart else replace(batch, documents=None, positions=None)


def rows_of(batch: Batch, start: int, end: int) -> Batch:
    if start == 0 and end >= len(batch.ids):  # all of them: each step of one micro-batch asks so
        return batch
    return each(batch, lambda *t: t[0][start:end])


def joined(batches: list[Batch]) -> Batch:
    return batches[0] if len(batches) == 1 else each(batches[0], lambda *t: torch.cat(t), *batches[1:])


def each(batch: Batch, do: Callable[..., Tensor], *others: Batch) -> Batch:
    """``do`` on each field of batches that have the same fields."""
    made: dict[str, Any] = {}
    for name, value in vars(batch).items():
        values = [value, *(getattr(o, name) for o in others)]
        if isinstance(value, Batch):
            made[name] = each(value, do, *values[1:])
        else:
            made[name] = None if value is None else do(*values)
    return Batch(**made)


def widened(batches: list[Batch]) -> list[Batch]:
    """Rows of one length: shorter ones, and their sources, are padded on the right."""
    if len(batches) == 1:
        return batches
    if batches[0].source is not None:
        sources = widened([b.source for b in batches])  # type: ignore[misc]
        batches = [Batch(**{**vars(b), "source": s}) for b, s in zip(batches, sources)]
    length = max(b.ids.shape[1] for b in batches)
    if all(b.ids.shape[1] == length for b in batches) and len({b.valid is None for b in batches}) == 1:
        return batches
    fill = {"targets": -100, "documents": -1, "valid": False}
    made = []
    for b in batches:
        values = {**vars(b), "valid": torch.ones_like(b.ids, dtype=torch.bool) if b.valid is None else b.valid}
        for name, value in values.items():
            amounts = name == "targets" and isinstance(value, Tensor) and value.is_floating_point()
            of_row = amounts or name in ("reference", "rewards", "lengths")  # and not of its positions
            if isinstance(value, Tensor) and value.shape[:2] == b.ids.shape and not of_row:
                behind = (0,) * (2 * (value.dim() - 2))  # numbers of a position stay as many
                values[name] = F.pad(value, (*behind, 0, length - value.shape[1]), value=fill.get(name, 0))
        made.append(Batch(**values))
    return made
