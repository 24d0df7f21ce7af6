"""Runs a recurrent cell over the positions. Padding and the borders of documents are handled here, once for every cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from components.core.sockets import SequenceInfo
from components.functional.earlier import left, starts
from components.functional.sequential_scan import Given, States, sequential_scan

Cell = Callable[[Tensor, States], States]
STATE = "state"  # under this word ``info.carry`` may say with which states a document begins, and ``info.out`` then tells those after each position


def unroll(cell: Cell, inputs: Tensor, empty: States, info: SequenceInfo, state: dict[str, Any] | None) -> Tensor:
    """The first of the cell's states after each position, (B, T, H).

    Args:
        cell: (input of one position (B, G), states before it) -> states after it, each (B, H).
        inputs: (B, T, G).
        empty: the states of a beginning document, unless ``info.carry["state"]`` has others: each (B, H), or (B, T, H) for the document that
            begins at each position; () for these. Then all states, (B, T, H), are written to ``info.out["state"]``.
        info: of these positions; padding passes the states on.
        state: of the cache's slot, or None without a cache.
    """
    rows, length = inputs.shape[:2]
    asked = STATE in info.carry
    begin = info.carry.get(STATE) or empty
    differ = begin[0].dim() == 3
    start = starts(info, rows, length, state)
    if differ:
        start = _first_too(start, info, rows, length, inputs.device, state)
    states = tuple(b[:, 0] if differ else b for b in begin) if state is None or "states" not in state else state["states"]

    def step(before: States, given: Given) -> tuple[States, States]:
        x, begins, valid, *first = given
        after = cell(x, before if begins is None else _where(begins, cast(States, first) if differ else begin, before))
        after = after if valid is None else _where(valid, after, before)
        return after, after if asked else after[:1]

    read, states = sequential_scan(step, states, (inputs, start, info.valid, *(begin if differ else ())), 1)
    if state is not None:
        state["states"] = tuple(left(s, state) for s in states)
    if asked:
        info.out[STATE] = read
    return read[0]


def last_of(states: States, info: SequenceInfo, documents: Tensor | None = None) -> States:
    """Of states (B, S, H) after each position, those after a row's last valid one (B, H): padding has passed them on.

    With ``documents`` (B, T) and ``info.documents``, those after the last valid position of the same document, (B, T, H); 0 where it has none.
    """
    if documents is None or info.documents is None:
        return tuple(s[:, -1] for s in states)
    same = documents[:, :, None] == info.documents[:, None, :]
    if info.valid is not None:
        same = same & info.valid[:, None, :]
    places = torch.arange(same.shape[2], device=same.device)
    last = torch.where(same, places, -1).amax(-1, keepdim=True)
    picked = []
    for s in states:
        at = last.clamp(min=0).expand(s.shape[0], -1, s.shape[2])
        picked.append(torch.where(last >= 0, s.gather(1, at), 0))
    return tuple(picked)


def _first_too(
    start: Tensor | None, info: SequenceInfo, rows: int, length: int, device: torch.device, state: dict[str, Any] | None
) -> Tensor:
    """(B, T) True where a document begins, a row's first valid position included: padding before it may be of another document."""
    valid = torch.ones(rows, length, dtype=torch.bool, device=device) if info.valid is None else info.valid.expand(rows, length)
    seen = valid.new_zeros(rows, 1) if state is None or "seen" not in state else state["seen"]
    before = seen | (valid.cumsum(1) - valid.long() > 0)
    if state is not None:
        state["seen"] = seen | valid.any(1, keepdim=True)
    first = valid & ~before
    return first if start is None else start | first


def _where(choose: Tensor, a: States, b: States) -> States:
    return tuple(torch.where(choose[:, None], x, y) for x, y in zip(a, b, strict=True))
