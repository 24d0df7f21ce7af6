"""What biases by distance have in common: distances of pairs, and values that depend on a distance alone, computed once for each distance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from components.core.flops import Work
from components.core.sockets import SequenceInfo


def distances(q_info: SequenceInfo, k_info: SequenceInfo) -> Tensor:
    """(B or 1, Tq, Tk): position of the query less position of the key, positive towards the past."""

    def compute() -> Tensor:
        return q_info.placed()[:, :, None] - k_info.placed()[:, None, :]

    return q_info.once("distances", compute) if q_info is k_info else compute()


def backwards_only(info: SequenceInfo) -> bool:
    """No query sees a later key."""
    return info.causal and info.prefix is None


def span(info: SequenceInfo, length: int) -> tuple[int, int]:
    """The least and the greatest distance that a query and a key which it sees can have within one sequence of ``length``."""
    return (0 if backwards_only(info) else 1 - length), length - 1


def spanned(work: Work) -> int:
    """How many distances ``by_distance`` computes values for, without a cache."""
    return work.length if work.causal else 2 * work.length - 1


def by_distance(values: Callable[[Tensor], Tensor], q_info: SequenceInfo, k_info: SequenceInfo) -> Tensor:
    """(B or 1, H, Tq, Tk) of ``values``: distances (...) -> (..., H).

    Within one sequence of T positions there are T distances (2 T - 1 where the future is seen), since positions count without gaps: values are
    computed for these and looked up. Between new queries and cached keys they are computed pair by pair, as a cache may have dropped keys.
    """
    found = distances(q_info, k_info)
    if q_info is not k_info:
        return values(found).permute(0, 3, 1, 2)
    low, high = span(q_info, found.shape[-1])
    table = values(torch.arange(low, high + 1, device=found.device))
    return table[found.clamp(low, high) - low].permute(0, 3, 1, 2)
