"""Leviathan et al. 2022, arXiv:2211.17192, algorithm 1; Chen et al. 2023, arXiv:2302.01318"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from components.core.abilities import Cuts
from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Path, Positive
from components.core.sockets import Batch, Cache, Makers, make_all
from components.functional.precision import widest
from components.parts.decoding._decoding import Decoding, Over, Wanted
from components.parts.decoding._loop import checked, context_limit, writing
from components.parts.decoding._rows import columns, longer, pieces, positions_of, rows_of
from components.parts.decoding.sample import Uniforms, draw, streams

LATER = 8  # unread tokens that may wait for the next call: after a rejection they are read again with what is proposed next


@register("decoding", "speculative")
class Speculative(Decoding):
    """Speculative: a small model proposes several tokens, the large one reads them at once, and keeps as many as its own distribution allows.

    The texts are distributed as those of ``sample`` with the same samplers; with ``top_k`` of 1 they are those of ``greedy``. For one text at a
    time: the rows of a batch are continued one after another. Both models keep a cache of the kind that is given.

    Args:
        draft: the run, or the checkpoint, whose model proposes; its tokenizer is the large model's. Null: set ``draft`` from Python.
        ahead: tokens that are proposed at a time.
        samplers: what shapes the logits of both models, applied in this order.

    Errors: UserError without a draft; ValueError if its logits are of another number.
    """

    def __init__(
        self,
        *,
        draft: Path | None = None,
        ahead: Positive = 4,
        samplers: Makers["sampler"] = ({"name": "temperature", "value": 0.8}, {"name": "top_k", "k": 50}),
    ) -> None:
        self.run, self.ahead = draft, ahead
        self.draft: Any = None
        self.samplers = make_all(samplers, "sampler")
        self.proposed, self.accepted = 0, 0  # of the last call

    @property
    def attached(self) -> Any:
        return self.draft

    def attach(self, model: object) -> None:
        """``model`` proposes from now on."""
        self.draft = model

    def written(self, model: Any, batch: Batch, wanted: Wanted) -> Tensor:
        """(B, T + new), as ``generate`` has it. Ends with the context if the model cannot go beyond it."""
        if self.draft is None:
            raise UserError(
                "decoding.draft", "speculative decoding has no small model", "give draft=RUN, or set its attribute draft"
            )
        limit, _, _ = checked(model, batch, wanted)
        most_new, heard_by = wanted.max_new_tokens, wanted.on_token
        rows = batch.ids.shape[0]
        sources = streams(rows, wanted.generator)
        self.proposed, self.accepted = 0, 0
        caches = (None, None) if wanted.cache is None else (copy.deepcopy(wanted.cache), wanted.cache)
        empty = [c if c is None else c.snapshot() for c in caches]
        made = []
        with writing(model, self.weights, most_new, self.ahead + 1), writing(self.draft, self.weights, most_new, 1):
            for i in range(rows):
                for kept, nothing in zip(caches, empty):
                    if kept is not None:
                        kept.restore(nothing)
                row = row_of(batch, i)
                drafted, read = (Reader(m, row, kept, wanted.prefill_chunk) for m, kept in zip((self.draft, model), caches))
                numbers = Uniforms(1, sources[i if len(sources) > 1 else 0])
                heard = heard_by if rows == 1 else None
                most = most_new if limit is None else max(0, min(most_new, limit - row.ids.shape[1] + 1))
                made.append(
                    self._row(
                        drafted, read, numbers, most, wanted.stop_ids, heard, _padded(wanted.over, batch.ids[i : i + 1], row)
                    )
                )
        longest = max((len(m) for m in made), default=0)
        new = torch.tensor([m + [wanted.fill] * (longest - len(m)) for m in made], dtype=torch.long, device=batch.ids.device)
        if heard_by is not None and rows > 1:
            for column in new.unbind(1):
                heard_by(column)
        return torch.cat((batch.ids, new.view(rows, longest)), 1)

    def _row(
        self,
        draft: Reader,
        target: Reader,
        numbers: Uniforms,
        most: int,
        stop_ids: Sequence[int],
        on_token: Callable[[Tensor], None] | None,
        over: Over | None,
    ) -> list[int]:
        """The tokens after one prompt."""
        ids = target.ids
        end, drawn = ids.shape[1] + most, 0

        def uniform() -> Tensor:
            nonlocal drawn
            drawn += 1
            return numbers(drawn - 1).to(ids.device)

        new: list[int] = []
        while ids.shape[1] < end:
            n = ids.shape[1]
            count = max(0, min(self.ahead, end - n - 1, draft.room - n + 1))
            proposed, guesses = ids, []
            if count:
                draft.settle(ids)
            for _ in range(count):
                guesses.append(self._shaped(draft(proposed, 1)[-1:], proposed))
                proposed = torch.cat((proposed, draw(guesses[-1].log(), uniform())[:, None]), 1)
            target.settle(ids)
            logits = target(proposed, count + 1)
            self.proposed += count
            for i in range(count + 1):
                p = self._shaped(logits[i : i + 1], proposed[:, : n + i])
                accepted = False
                if i == count:
                    token = draw(p.log(), uniform())
                else:
                    q, token = guesses[i], proposed[:, n + i]
                    if p.shape != q.shape:
                        raise ValueError(
                            f"the small model has {q.shape[-1]} logits and the large one {p.shape[-1]}: they share no tokenizer"
                        )
                    at = token[:, None]
                    accepted = bool(uniform() * q.gather(1, at)[:, 0] < p.gather(1, at)[:, 0])
                    if not accepted:
                        rest = (p - q).clamp(min=0)
                        token = draw((rest if bool(rest.sum() > 0) else p).log(), uniform())
                self.accepted += accepted
                ids = torch.cat((ids, token[:, None]), 1)
                new.append(int(token))
                if on_token is not None:
                    on_token(token)
                if new[-1] in stop_ids or (over is not None and bool(over(ids).any())):
                    return new
                if not accepted:
                    break
        return new

    def _shaped(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Probabilities (1, V), in fp64 where there is such."""
        logits = logits.float()
        for sampler in self.samplers:
            logits = sampler(logits, ids, None)  # a row stands here without its padding
        return logits.softmax(-1, dtype=widest(logits.device))


class Reader:
    """Logits of the last positions of one growing row. What was read and then rejected is cut off, or taken back by the cache's snapshots."""

    def __init__(self, model: Any, row: Batch, cache: Cache | None, chunk: int | None) -> None:
        self.model, self.row, self.cache, self.chunk = model, row, cache, chunk
        self.cuts = cache if isinstance(cache, Cuts) else None
        self.ids, self.at = row.ids, 0
        limit = context_limit(model)
        self.room = 1 << 62 if limit is None else limit
        self.kept: tuple[Any, int] | None = None

    def __call__(self, ids: Tensor, last: int) -> Tensor:
        """(last, V)."""
        batch = self._with(ids)
        if self.cache is None:
            return self.model(batch)[0, -last:]
        batch, self.at = columns(batch, self.at, ids.shape[1]), ids.shape[1]
        return self.model(batch, cache=self.cache, last=last == 1)[0, -last:]

    def _with(self, ids: Tensor) -> Batch:
        """The row with what came after it."""
        return longer(self.row, positions_of(self.row), ids, ids.shape[1])

    def settle(self, ids: Tensor) -> None:
        """``ids`` are certain, their last not read yet: forget what else was read, and be able to come back to here."""
        if self.cache is None:
            return
        before = ids.shape[1] - 1
        if self.at > before and self.cuts is not None and self.cuts.cut(before):
            self.at = before
        if self.at > before:
            self.cache.restore(self.kept[0])  # type: ignore[index]
            self.at = self.kept[1]  # type: ignore[index]
        if before - self.at > LATER or (self.at == 0 and before):
            for piece in pieces(columns(self._with(ids), self.at, before), self.chunk):
                self.model(piece, cache=self.cache, last=True)
            self.at = before
        self.kept = (self.cache.snapshot(), self.at)


def row_of(batch: Batch, i: int) -> Batch:
    """One prompt without its padding, with its positions."""
    row = rows_of(replace(batch, positions=positions_of(batch)), torch.tensor([i], device=batch.ids.device))
    padding = 0 if batch.valid is None else int((~batch.valid[i]).sum())
    return replace(columns(row, padding, batch.ids.shape[1]), valid=None)


def _padded(over: Over | None, whole: Tensor, row: Batch) -> Over | None:
    """``over`` as the caller knows the row: with its padding."""
    if over is None:
        return None
    return lambda ids: over(torch.cat((whole, ids[:, row.ids.shape[1] :]), 1))
