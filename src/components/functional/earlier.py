"""The valid positions before each position, in the same document. Short convolutions, token shifts, n-grams and recurrences use
them.

Padding is skipped wherever it is. A document's first positions have nothing before them. A cached call continues where the last
one stopped: ``state`` belongs to the slot, and new values replace old ones without changing them in place (``Slot.state``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.core.sockets import SequenceInfo


class HandedOn(dict[str, Any]):
    """A slot's state that another rank goes on with, in the same step: what is put into it keeps its gradient.

    Each name is read before it is written, and names are read in the order in which they are written.
    """


def left(x: Tensor, state: dict[str, Any]) -> Tensor:
    """``x`` as it is put into ``state``: without gradient, as all that a cache keeps, unless it is handed on."""
    return x if isinstance(state, HandedOn) else x.detach()


def plain(info: SequenceInfo) -> bool:
    """Whether there is no padding and only one document."""
    return info.valid is None and info.documents is None


def earlier(
    x: Tensor, info: SequenceInfo, count: int, state: dict[str, Any] | None = None, name: str = "earlier", fill: float = 0.0
) -> list[Tensor]:
    """[x one valid position before, two before, ... ``count`` before], each shaped as x (B, T, ...); ``fill`` where there is none.

    Args:
        x: (B, T) or (B, T, ...) of these positions.
        info: documents and valid of these positions.
        count: how many steps back.
        state: the state of the cache's slot, or None without a cache. It keeps the last ``count`` valid positions under ``name``.
    """
    if count == 0:  # and nothing to keep, where ``[-0:]`` would be all
        return []
    t = x.shape[1]
    kept = None if state is None else state.get(name)
    if plain(info) and (kept is None or kept[1] is None):
        padded = torch.cat((x.new_full((x.shape[0], count, *x.shape[2:]), fill) if kept is None else kept[0], x), 1)
        if state is not None:
            state[name] = (padded[:, -count:].clone(), None)  # a view would keep the whole prompt in memory
        return [padded[:, count - n : count - n + t] for n in range(1, count + 1)]
    rows = x.shape[0]
    document = torch.zeros(rows, t, dtype=torch.long, device=x.device) if info.documents is None else info.documents.long()
    valid = torch.ones_like(document, dtype=torch.bool) if info.valid is None else info.valid
    document = torch.where(valid, document, torch.full_like(document, -1)).expand(rows, t)
    if kept is None:
        before = (x.new_full((rows, count, *x.shape[2:]), fill), document.new_full((rows, count), -1))
    else:
        # a call without documents before one with them: all was one document, the first
        before = (kept[0], document.new_zeros((rows, count)) if kept[1] is None else kept[1])
    values, documents = torch.cat((before[0], x), 1), torch.cat((before[1], document), 1)
    places = torch.arange(t + count, device=x.device).expand(rows, -1)
    # the newest valid place at or before each; -1 where there is none
    newest = torch.where(documents >= 0, places, torch.full_like(places, -1)).cummax(1).values
    found, at = [], places[:, count:]
    for _ in range(count):
        step = at - 1
        at = torch.where(step >= 0, newest.gather(1, step.clamp(min=0)), step).clamp(min=-1)
        there = (at >= 0) & (documents.gather(1, at.clamp(min=0)) == document)
        picked = values.gather(1, _wide(at.clamp(min=0), values))
        found.append(torch.where(_wide(there, values), picked, torch.full_like(picked, fill)))
    if state is not None:
        last = newest[:, -1:]
        taken = []
        for _ in range(count):
            taken.append(last)
            last = torch.where(last >= 1, newest.gather(1, (last - 1).clamp(min=0)), torch.full_like(last, -1))
        order = torch.cat(taken[::-1], 1)
        index = order.clamp(min=0)
        kept_documents = torch.where(order >= 0, documents.gather(1, index), torch.full_like(index, -1))
        state[name] = (values.gather(1, _wide(index, values)), kept_documents)
    return found


def starts(
    info: SequenceInfo, rows: int, length: int, state: dict[str, Any] | None = None, name: str = "document"
) -> Tensor | None:
    """(B, T) True where a valid position begins a document, so that a recurrence forgets what came before. None: nowhere.

    The very first position does not count: a recurrence begins empty anyway. With ``state``, the last document of one call is
    compared with the first of the next.
    """
    last = None if state is None else state.get(name)
    if info.documents is None:
        if state is not None:  # all of it was one document, the first, should a later call name documents
            device = info.positions.device if info.positions is not None else None
            state[name] = torch.zeros(rows, 1, dtype=torch.long, device=device)
        return None
    document = info.documents.long().expand(rows, length)
    valid = torch.ones_like(document, dtype=torch.bool) if info.valid is None else info.valid.expand(rows, length)
    places = torch.arange(length, device=document.device).expand(rows, -1)
    newest = torch.where(valid, places, torch.full_like(places, -1)).cummax(1).values
    previous = torch.cat((torch.full_like(newest[:, :1], -1), newest[:, :-1]), 1)
    before = document.gather(1, previous.clamp(min=0))
    if last is None:
        last = torch.full_like(document[:, :1], -1)  # nothing came before
    before = torch.where(previous >= 0, before, last)
    start = valid & (before != document) & (before >= 0)
    if state is not None:
        end = newest[:, -1:]
        state[name] = torch.where(end >= 0, document.gather(1, end.clamp(min=0)), last)
    return start


def _wide(index: Tensor, like: Tensor) -> Tensor:
    """(B, T) -> broadcast over the trailing axes of ``like``."""
    return index.reshape(*index.shape, *([1] * (like.dim() - 2))).expand(*index.shape, *like.shape[2:])
