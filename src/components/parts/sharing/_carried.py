"""Keys and values by carry. An info that is the lender's own is not carried: the borrower's own says the same, and kernels know what it means."""

from __future__ import annotations

from torch import Tensor

from components.core.sockets import SequenceInfo


def put(word: str, k: Tensor, v: Tensor, k_info: SequenceInfo, info: SequenceInfo) -> None:
    info.out[word] = (k, v, None if k_info is info else k_info)


def take(word: str, info: SequenceInfo, missing: str) -> tuple[Tensor, Tensor, SequenceInfo]:
    """What an earlier layer put there. ValueError(missing) if none did."""
    if word not in info.carry:
        raise ValueError(missing)
    k, v, k_info = info.carry[word]
    return k, v, info if k_info is None else k_info
