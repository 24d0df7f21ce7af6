"""What the rows of a batch draw from in training: a key for each row, from the seed and the number of its sample, moved on by each draw.

So a draw belongs to a sample, however a step is cut into ranks and micro-batches (docs/decisions/dropout-belongs-to-samples.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class Draws:
    """What the rows of the batch that is being read draw from.

    ``keys``: (B,) int64, one for each row, moved on by each call; None outside of ``drawn_for``.
    """

    keys: Tensor | None = None


DRAWS = Draws()


@contextmanager
def drawn_for(seed: int, samples: Tensor | None) -> Iterator[Tensor | None]:
    """Inside the block rows draw by the numbers of their samples, (B,) int64; None: from torch's generator. Gives the keys that draws begin with."""
    before, DRAWS.keys = DRAWS.keys, None if samples is None else keys_of(seed, samples)
    try:
        yield DRAWS.keys
    finally:
        DRAWS.keys = before


def repeatable(run: Callable[P, R]) -> Callable[P, R]:
    """``run``, which draws the same when it is called once more, in the backward pass: from what the keys are now."""
    keys = DRAWS.keys
    if keys is None:
        return run

    def again(*args: P.args, **kwargs: P.kwargs) -> R:
        before = DRAWS.keys
        if before is keys:  # the first time: what follows draws after it
            return run(*args, **kwargs)
        DRAWS.keys = keys
        try:
            return run(*args, **kwargs)
        finally:
            DRAWS.keys = before

    return again


def keys_of(seed: int, samples: Tensor) -> Tensor:
    """(B,) int64: well mixed, for each sample another one (the finaliser of SplitMix64)."""
    x = samples * wrapped(0x9E3779B97F4A7C15) + wrapped(seed * 0xD1B54A32D192ED03 + 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * wrapped(factor)
    return x


def wrapped(number: int, bits: int = 64) -> int:
    """The signed number of so many bits that ``number`` is, modulo 2 to the power of them."""
    half = 1 << (bits - 1)
    return (number + half) % (1 << bits) - half
