"""The loop of the decodings that choose one token at a time: what is fed to the model, where rows stop, what is given back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.errors import UserError
from components.sockets import Batch, Cache, count_positions

# (logits (B, V) of the last position, ids (B, T) so far, number of the new token) -> (B,)
Choose = Callable[[Tensor, Tensor, int], Tensor]


def continue_(
    model: Any,
    batch: Batch,
    choose: Choose,
    *,
    cache: Cache | None,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    on_token: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """``batch.ids`` (B, T) with what ``choose`` chose after them: (B, T + new).

    Prompts of different lengths are padded on the left, with ``batch.valid`` False there. A row is over with its first stop id, and
    filled up with ``stop_ids[0]``; the loop is over when all rows are, or after ``max_new_tokens``.

    Beyond ``model.context_length``: models go on, unless one of their modules says ``bounded = True`` (a table of positions). Those end
    there with a cache; without one they read the last ``context_length`` tokens only, counted from 0.
    """
    prompt = batch.ids.shape[1]
    if prompt == 0:
        raise UserError("prompt", "it has no token", "begin with the token that starts a document")
    if batch.valid is not None and not batch.valid[:, -1].all():
        raise ValueError("prompts are padded on the left: valid must be True in the last column")
    limit = context_limit(model)
    if cache is not None and limit is not None:
        if prompt > limit:
            raise UserError(
                "prompt", f"{prompt} tokens do not fit into the model's context of {limit}", "shorten it, or use no cache"
            )
        max_new_tokens = min(max_new_tokens, limit - prompt + 1)  # the last one is not read again
    with torch.inference_mode(), evaluating(model):
        ids = _run(model, batch, choose, cache, limit, max_new_tokens, stop_ids, on_token)
    return ids.clone()  # a normal tensor again, which a training step may take


def _run(
    model: Any,
    batch: Batch,
    choose: Choose,
    cache: Cache | None,
    limit: int | None,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    on_token: Callable[[Tensor], None] | None,
) -> Tensor:
    prompt = batch.ids.shape[1]
    fill = stop_ids[0] if stop_ids else 0
    ids = F.pad(batch.ids, (0, max_new_tokens), value=fill)
    stops = torch.tensor(list(stop_ids), device=ids.device) if stop_ids else None
    over = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
    feed = Cached(model, batch, cache) if cache is not None else Recomputed(model, batch, limit)
    for n in range(max_new_tokens):
        new = choose(feed(ids, prompt + n), ids[:, : prompt + n], n)
        if stops is not None:
            new = new.masked_fill_(over, fill)
            over |= torch.isin(new, stops)
        ids[:, prompt + n] = new
        if on_token is not None:
            on_token(new)
        if stops is not None and over.all():
            return ids[:, : prompt + n + 1]
    return ids


class Cached:
    """Logits (B, V) of column ``end - 1``, by reading what is new since the last call: the prompt, then one token at a time."""

    def __init__(self, model: Any, batch: Batch, cache: Cache) -> None:
        self.model, self.batch, self.cache = model, batch, cache
        self.documents = None if batch.documents is None else batch.documents[:, -1:]
        self.types = None if batch.token_types is None else batch.token_types[:, -1:]
        self.positions: Tensor | None = None

    def __call__(self, ids: Tensor, end: int) -> Tensor:
        if self.positions is None:
            b, positions = self.batch, positions_of(self.batch)
            batch = Batch(b.ids, None, None, positions, b.documents, b.valid, b.token_types, b.source, b.prefix)
            self.positions = positions[:, -1:]
        else:
            self.positions = self.positions + 1
            batch = Batch(ids[:, end - 1 : end], positions=self.positions, documents=self.documents, token_types=self.types)
        return self.model(batch, cache=self.cache, last=True)[:, -1]


class Recomputed:
    """The same by reading everything again, at most the last ``limit`` tokens."""

    def __init__(self, model: Any, batch: Batch, limit: int | None) -> None:
        self.model, self.batch, self.limit = model, batch, limit
        self.positions = positions_of(batch)

    def __call__(self, ids: Tensor, end: int) -> Tensor:
        b, more = self.batch, end - self.batch.ids.shape[1]
        start = 0 if self.limit is None else max(0, end - self.limit)
        after = torch.arange(1, more + 1, device=ids.device)
        positions = torch.cat([self.positions, self.positions[:, -1:] + after], 1)[:, start:]
        prefix = b.prefix
        if self.limit is not None:
            excess = (positions[:, -1:] - (self.limit - 1)).clamp(min=0)
            positions = (positions - excess).clamp(min=0)
            prefix = None if prefix is None else (prefix - excess[:, 0]).clamp(min=0)

        def longer(x: Tensor | None) -> Tensor | None:
            """The last column goes on: it is valid, and new tokens belong to its document."""
            return None if x is None else torch.cat([x, x[:, -1:].expand(-1, more)], 1)[:, start:]

        batch = Batch(
            ids[:, start:end],
            positions=positions,
            documents=longer(b.documents),
            valid=longer(b.valid),
            token_types=longer(b.token_types),
            source=b.source,
            prefix=prefix,
        )
        return self.model(batch, last=True)[:, -1]


def positions_of(batch: Batch) -> Tensor:
    return count_positions(batch.ids, batch.documents, batch.valid) if batch.positions is None else batch.positions


def context_limit(model: Any) -> int | None:
    """``context_length`` if some part cannot go beyond it."""
    modules = model.modules() if isinstance(model, nn.Module) else [model]
    return model.context_length if any(getattr(m, "bounded", False) for m in modules) else None


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """In eval mode, and every module back to its own afterwards."""
    training = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    if training:
        model.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True
