"""What decodings share: what is fed to the model, in pieces if asked for, and the loop of those that choose one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.errors import UserError
from components.core.sockets import Batch, Cache
from components.core.traits import bounded, turning_points
from components.functional.decode_products import decoding_form
from components.functional.laid_out import Weights
from components.functional.token_steps import token_steps
from components.parts.decoding._decoding import Wanted
from components.parts.decoding._rows import columns, longer, picked, pieces, positions_of, rows_of

# (logits (B, V) of the last position, ids (B, T) so far, number of the new token) -> (B,)
Choose = Callable[[Tensor, Tensor, int], Tensor]


def continue_(model: object, batch: Batch, wanted: Wanted, choose: Choose, weights: Weights) -> Tensor:
    """``batch.ids`` (B, T) with what ``choose`` chose after them, token by token: (B, T + new), as ``Decoding.generate`` has it."""
    limit, most, room = checked(model, batch, wanted)
    with writing(model, weights, most, len(batch.ids)):
        feed = feed_of(model, batch, wanted, limit)
        ids = _run(feed, batch.ids, choose, most, room, wanted)
    return ids.clone()  # a normal tensor again, which a training step may take


def checked(model: object, batch: Batch, wanted: Wanted) -> tuple[int | None, int, Tensor | None]:
    """(``context_limit``, how many tokens may be chosen, and in each row (B,) where that differs). UserError, ValueError: an unfit prompt."""
    prompt, max_new_tokens = batch.ids.shape[1], wanted.max_new_tokens
    if prompt == 0:
        raise UserError("prompt", "it has no token", "begin with the token that starts a document")
    if batch.valid is not None and not batch.valid[:, -1].all():
        raise ValueError("prompts are padded on the left: valid must be True in the last column")
    limit = context_limit(model)
    if limit is not None and batch.source is not None and (length := batch.source.ids.shape[1]) > limit:
        raise UserError("prompt", f"a source of {length} tokens does not fit into the model's context of {limit}", "shorten it")
    if wanted.cache is None or limit is None:
        return limit, max_new_tokens, None
    if prompt > limit:
        raise UserError(
            "prompt", f"{prompt} tokens do not fit into the model's context of {limit}", "shorten it, or use no cache"
        )
    if batch.valid is None:
        return limit, min(max_new_tokens, limit - prompt + 1), None  # the last one is not read again
    room = (limit + 1 - batch.valid.sum(1)).clamp(max=max_new_tokens)
    return limit, int(room.max()), None if bool((room == room[0]).all()) else room


def feed_of(model: object, batch: Batch, wanted: Wanted, limit: int | None) -> Cached | Recomputed:
    if wanted.cache is None:
        return Recomputed(model, batch, limit)
    return Cached(model, batch, wanted.cache, limit, wanted.prefill_chunk)


def _run(
    feed: Callable[[Tensor, int], Tensor], given: Tensor, choose: Choose, most: int, room: Tensor | None, wanted: Wanted
) -> Tensor:
    prompt, fill, over, on_token = given.shape[1], wanted.fill, wanted.over, wanted.on_token
    ids = F.pad(given, (0, most), value=fill)
    stops = torch.tensor(list(wanted.stop_ids), device=ids.device) if wanted.stop_ids else None
    ended = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
    ends = stops is not None or over is not None or room is not None
    for n in range(most):
        new = choose(feed(ids, prompt + n), ids[:, : prompt + n], n)
        if ends:
            new = new.masked_fill_(ended, fill)
        if stops is not None:
            ended |= torch.isin(new, stops)
        ids[:, prompt + n] = new
        if on_token is not None:
            on_token(new)
        if over is not None:
            ended |= over(ids[:, : prompt + n + 1])
        if room is not None:
            ended |= room <= n + 1
        if ends and ended.all():
            return ids[:, : prompt + n + 1]
    return ids


class Cached:
    """Logits (B, V) of column ``end - 1``, by reading what is new since the last call: the prompt, then one token at a time.

    Where a text's length changes all of its angles (``turns_at`` of a module), the cache differs from what a full pass would compute:
    then everything is read again, in one piece.
    """

    def __init__(
        self, model: Any, batch: Batch, cache: Cache, limit: int | None = None, prefill_chunk: int | None = None
    ) -> None:
        self.model, self.batch, self.cache, self.chunk = model, batch, cache, prefill_chunk
        self.limit = None if batch.valid is None else limit  # rows of other lengths come to it at other times
        self.turns = turning_points(modules_of(model)) if cache.length == 0 else set()
        self.empty = cache.snapshot() if self.turns else None
        self.documents = None if batch.documents is None else batch.documents[:, -1:]
        self.types = None if batch.token_types is None else batch.token_types[:, -1:]
        self.prefix = batch.prefix
        self.positions: Tensor | None = None

    def __call__(self, ids: Tensor, end: int) -> Tensor:
        if self.positions is None:
            batch = self._whole(ids, end)
        else:
            self.positions = self.positions + 1
            if self.limit is not None:  # a row that is over at the end of the context is read on, for nothing
                self.positions = self.positions.clamp(max=self.limit - 1)
            if any(bool((self.positions == turn).any()) for turn in self.turns):
                self.cache.restore(self.empty)
                batch = self._whole(ids, end)
            else:
                batch = Batch(
                    ids[:, end - 1 : end], None, None, self.positions, self.documents, None, self.types, None, self.prefix
                )
        return self.model(batch, cache=self.cache, last=True)[:, -1]

    def _whole(self, ids: Tensor, end: int) -> Batch:
        """What is left to read of everything, after all pieces but the last."""
        batch = longer(self.batch, positions_of(self.batch), ids, end)
        self.positions = batch.positions[:, -1:]  # type: ignore[index]
        turned = any(bool((self.positions >= turn).any()) for turn in self.turns)
        *earlier, last = pieces(batch, None if turned else self.chunk)
        for piece in earlier:
            self.model(piece, cache=self.cache, last=True)
        return last

    def reorder(self, rows: Tensor) -> None:
        """Row i goes on from row rows[i]."""
        self.cache.reorder(rows)
        if self.turns:
            self.batch = rows_of(self.batch, rows)
        self.positions, self.documents, self.types, self.prefix = (
            None if x is None else picked(x, rows) for x in (self.positions, self.documents, self.types, self.prefix)
        )


class Recomputed:
    """The same by reading everything again, at most the last ``limit`` tokens."""

    def __init__(self, model: Any, batch: Batch, limit: int | None) -> None:
        self.model, self.batch, self.limit = model, batch, limit
        self.positions = positions_of(batch)

    def __call__(self, ids: Tensor, end: int) -> Tensor:
        batch = longer(self.batch, self.positions, ids, end)
        if self.limit is not None:
            batch = columns(batch, max(0, end - self.limit), end)
            excess = (batch.positions[:, -1:] - (self.limit - 1)).clamp(min=0)  # type: ignore[index]
            prefix = None if batch.prefix is None else (batch.prefix - excess[:, 0]).clamp(min=0)
            batch = replace(batch, positions=(batch.positions - excess).clamp(min=0), prefix=prefix)  # type: ignore[operator]
        return self.model(batch, last=True)[:, -1]

    def reorder(self, rows: Tensor) -> None:
        self.batch, self.positions = rows_of(self.batch, rows), picked(self.positions, rows)


def context_limit(model: Any) -> int | None:
    """``context_length`` if some part cannot go beyond it."""
    return model.context_length if bounded(modules_of(model)) else None


def modules_of(model: Any) -> Iterable[Any]:
    return model.modules() if isinstance(model, nn.Module) else [model]


@contextmanager
def writing(model: Any, weights: Weights, new_tokens: int, rows: int) -> Iterator[None]:
    """How a text is written: without gradients, in eval mode, and in the layout and by the short way that fit ``rows`` rows at a time."""
    with torch.inference_mode(), evaluating(model), decoding_form(model, weights, new_tokens, rows), token_steps(model):
        yield


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
