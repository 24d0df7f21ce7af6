"""Batches that grow by a column, are cut into columns, and whose rows change places."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from components.core.positions import count_positions
from components.core.sockets import Batch


def longer(batch: Batch, positions: Tensor, ids: Tensor, end: int) -> Batch:
    """``batch`` and the columns of ``ids`` that came after it, up to ``end``: valid, at the next positions, of its last document and type."""
    more = end - batch.ids.shape[1]
    after = torch.arange(1, more + 1, device=ids.device)

    def on(x: Tensor | None) -> Tensor | None:
        return None if x is None else torch.cat([x, x[:, -1:].expand(-1, more)], 1)

    positions = torch.cat([positions, positions[:, -1:] + after], 1)
    kept = {"documents": on(batch.documents), "valid": on(batch.valid), "token_types": on(batch.token_types)}
    return Batch(ids[:, :end], positions=positions, **kept, source=batch.source, prefix=batch.prefix)


def picked(x: Tensor, rows: Tensor) -> Tensor:
    """Row i is what row rows[i] was; one row that stands for all of them stays."""
    return x if x.shape[0] == 1 and rows.max() > 0 else x.index_select(0, rows)


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    source = None if batch.source is None else rows_of(batch.source, rows)
    held: dict[str, Any] = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "source"}
    return replace(batch, source=source, **{n: picked(x, rows) for n, x in held.items() if x is not None})


def pieces(batch: Batch, size: int | None) -> list[Batch]:
    """``batch`` cut into pieces of ``size`` columns; not if it has a prefix, which sees all of itself."""
    length = batch.ids.shape[1]
    if size is None or size >= length or batch.prefix is not None:
        return [batch]
    return [columns(batch, i, min(i + size, length)) for i in range(0, length, size)]


def columns(batch: Batch, start: int, end: int) -> Batch:
    """The positions from ``start`` to ``end`` of a batch that says its positions."""
    names = ("ids", "positions", "documents", "valid", "token_types")
    cut: dict[str, Any] = {n: v if (v := getattr(batch, n)) is None else v[:, start:end] for n in names}
    return Batch(**cut, source=batch.source, prefix=batch.prefix)


def positions_of(batch: Batch) -> Tensor:
    return count_positions(batch.ids, batch.documents, batch.valid) if batch.positions is None else batch.positions
