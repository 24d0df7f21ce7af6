"""A recurrence cell by cell: what padding leaves alone and where a document begins empty are said once, for every cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from components.functional.earlier import starts
from components.sockets import SequenceInfo

Cell = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def unroll(cell: Cell, inputs: Tensor, empty: tuple[Tensor, ...], info: SequenceInfo, state: dict[str, Any] | None) -> Tensor:
    """The first of the cell's states after each position, (B, T, H).

    Args:
        cell: (input of one position (B, G), states before it) -> states after it, each (B, H).
        inputs: (B, T, G).
        empty: the states of a beginning document.
        info: of these positions; padding passes the states on.
        state: of the cache's slot, or None without a cache.
    """
    rows, length = inputs.shape[:2]
    start = starts(info, rows, length, state)
    states = empty if state is None or "states" not in state else state["states"]
    read = []
    for t in range(length):
        before = states if start is None else _where(start[:, t], empty, states)
        after = cell(inputs[:, t], before)
        states = after if info.valid is None else _where(info.valid[:, t], after, states)
        read.append(states[0])
    if state is not None:
        state["states"] = tuple(s.detach() for s in states)
    return torch.stack(read, 1)


def _where(choose: Tensor, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.where(choose[:, None], x, y) for x, y in zip(a, b, strict=True))
