"""h_t = a_t h_(t-1) + b_t for every channel by itself, without a loop over positions: three forms of one recurrence.

Blelloch 1990; in log space: Heinsen 2023, arXiv:2311.06281; Feng et al. 2024, arXiv:2410.01201, appendix B
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.sockets import SequenceInfo
from components.functional import watch
from components.functional.earlier import left, plain, starts
from components.functional.sequential_scan import Given, States, exporting, sequential_scan

BLOCK = 256  # positions that one sum of logarithms goes over


def scan_reference(a: Tensor, b: Tensor, first: Tensor | None = None) -> Tensor:
    """Position by position: a and b (B, T, H), ``first`` (B, H) is h before them, 0 if None -> (B, T, H)."""

    def step(states: States, given: Given) -> tuple[States, States]:
        (h,), (a, b) = states, given
        h = a * h + b
        return (h,), (h,)

    (read,), _ = sequential_scan(step, (torch.zeros_like(b[:, 0]) if first is None else first,), (a, b), 1)
    return read


def scan(a: Tensor, b: Tensor, first: Tensor | None = None) -> Tensor:
    """As ``scan_reference``, in log2(T) passes of pairs, of pairs of pairs and so on. For 0 <= a <= 1 nothing can overflow."""
    if exporting():
        return scan_reference(a, b, first)
    if first is not None:
        b = torch.cat((b[:, :1] + a[:, :1] * first[:, None], b[:, 1:]), 1)
    step = 1
    while step < b.shape[1]:
        b = torch.cat((b[:, :step], torch.addcmul(b[:, step:], a[:, step:], b[:, :-step])), 1)
        a = torch.cat((a[:, :step], a[:, step:] * a[:, :-step]), 1)
        step *= 2
    return b


def log_scan(log_a: Tensor, log_b: Tensor, first: Tensor | None = None) -> Tensor:
    """As ``scan_reference`` for positive a and b and ``first`` >= 0, from the logarithms of a and b; one pass over each block.

    Exponents are differences of sums of log a, whose rounding grows with them: blocks keep the sums short.
    """
    before = None if first is None else first.log()[:, None]
    logs = []
    for a, b in zip(log_a.split(BLOCK, 1), log_b.split(BLOCK, 1), strict=True):
        if before is not None:
            b = torch.cat((torch.logaddexp(b[:, :1], a[:, :1] + before), b[:, 1:]), 1)
        sums = a.cumsum(1)
        logs.append(sums + torch.logcumsumexp(b - sums, 1))
        before = logs[-1][:, -1:]
    return torch.cat(logs, 1).exp()


def scan_of(log_a: Tensor, log_b: Tensor, info: SequenceInfo, state: dict[str, Any] | None) -> Tensor:
    """The recurrence over these positions: padding passes h on, a document begins with h = 0, a cached call goes on where the last one stopped.

    In log space where there is neither padding nor a border of documents; those have a = 1, b = 0 and a = 0, which have no finite logarithm.
    """
    if watch.sink is not None:
        watch.sink("scan", log_a=log_a, log_b=log_b)
    rows, length = log_a.shape[:2]
    start = starts(info, rows, length, state)
    first = None if state is None else state.get("h")
    if plain(info) and not exporting() and length > 1:
        h = log_scan(log_a, log_b, first)
    else:
        a, b = log_a.exp(), log_b.exp()
        if start is not None:
            a = torch.where(start[..., None], 0.0, a)
        if info.valid is not None:
            a, b = torch.where(info.valid[..., None], a, 1.0), torch.where(info.valid[..., None], b, 0.0)
        h = scan(a, b, first)
    if state is not None:
        state["h"] = left(h[:, -1], state).clone()  # a view would keep all of h in memory
    return h


def positive(x: Tensor) -> Tensor:
    """g(x) = x + 1/2 where x >= 0, else sigmoid(x): positive and smooth (appendix B.3)."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def log_positive(x: Tensor) -> Tensor:
    """log g(x)."""
    return torch.where(x >= 0, (F.relu(x) + 0.5).log(), F.logsigmoid(x))
