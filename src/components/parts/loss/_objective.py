"""What objectives have in common that make their own inputs and targets out of packed text."""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.positions import count_positions
from components.core.sockets import Batch
from components.functional.cross_entropy import IGNORED


def text_of(batch: Batch, name: str) -> Tensor:
    """(B, T) the ids. ValueError where weights are given, which belong to targets that this objective replaces."""
    if batch.weights is not None:
        raise ValueError(f"{name} makes its own targets, and batch.weights weigh others: leave them out")
    return batch.ids


def changeable(batch: Batch) -> Tensor:
    """(B, T) True where a token may be hidden: valid, asked for, and not the first of its document, which tells where one begins."""
    kept = positions_of(batch) > 0
    if batch.targets is not None:
        kept = kept & (batch.targets != IGNORED)
    return kept if batch.valid is None else kept & batch.valid


def positions_of(batch: Batch) -> Tensor:
    """(B, T) the place of each token in its document, as the model will count it."""
    positions = batch.positions
    if positions is None:
        positions = count_positions(batch.ids, batch.documents, batch.valid)
    return positions.expand(batch.ids.shape)


def drawn(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), wherever the generator and the batch are."""
    return torch.rand(shape, generator=generator, device=generator.device).to(like.device)


def asked_only(targets: Tensor, where: Tensor) -> Tensor:
    """The targets where ``where``, -100 elsewhere."""
    return torch.where(where, targets, IGNORED)


def gathered(batch: Batch, width: Tensor) -> tuple[Batch, Tensor]:
    """Rows in which position t of ``batch`` becomes ``width[b, t]`` places, 0 of them: it is left out.

    Returns:
        a batch of the longest row's length with documents, valid where rows are shorter, ids 0; and (B, T) where each one's places begin.
    """
    ends = width.cumsum(1)
    starts = ends - width
    length = int(ends[:, -1].max().clamp(min=1))
    at = torch.arange(length, device=width.device).expand(len(width), -1).contiguous()
    valid = at < ends[:, -1:]
    source = torch.searchsorted(ends, at, right=True).clamp(max=width.shape[1] - 1)  # the position that each place comes from
    documents = None if batch.documents is None else batch.documents.gather(1, source)
    types = None if batch.token_types is None else batch.token_types.gather(1, source)
    whole = bool(valid.all())
    made = Batch(torch.zeros_like(at), documents=documents, valid=None if whole else valid, token_types=types)
    return made, starts
