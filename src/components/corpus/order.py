"""The order in which an epoch reads its rows: a function of (seed, epoch), the same on every machine.

A short order is dealt: one random number for each row, sorted. A long one is computed: a keyed permutation of 0 to n - 1 that needs no table, so that a
row is found in the same time and memory whether there are 10⁵ rows or 10¹⁰. It is a Feistel network on the bits of the row's number (Luby and Rackoff 1988),
with cycle walking where n is no power of two (Black and Rogaway 2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

How = Literal["dealt", "computed"]

DEALT_UP_TO = 2**16  # rows; sorting so many takes milliseconds. Runs of before this number was there have dealt every order
ROUNDS = 8  # even, so that halves of unequal widths stand where they were; 4 are enough for a pseudorandom permutation


class EpochOrder:
    """Which row stands at a place of an epoch.

    Args:
        n: how many rows there are, at least 1.
        seed: of the orders; None keeps that of the rows.
        how: ``dealt`` or ``computed``; without it, by n. The two give different orders.
    """

    def __init__(self, n: int, seed: int | None, how: How | None = None) -> None:
        self.n, self.seed = n, seed
        self.how: How = how or ("dealt" if n <= DEALT_UP_TO else "computed")
        # of the last epoch that was asked for
        self._dealt: tuple[int, int, np.ndarray] | None = None
        self._first: tuple[int, np.ndarray] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return EpochOrder, (self.n, self.seed, self.how)  # what was dealt is dealt again by whoever needs it

    def rows(self, epoch: int, places: Sequence[int] | np.ndarray, *, extra: bool = False) -> np.ndarray:
        """(B,) int64, the rows that stand at ``places``. ``extra``: there is an ``extra`` draw before the order."""
        at = np.asarray(places, dtype=np.int64)
        if self.seed is None:
            return at
        if self.how == "dealt":
            return self._sorted(epoch, int(extra))[at]
        return permuted(at.astype(np.uint64), self.n, self._draws(epoch)[1:]).astype(np.int64)

    def extra(self, epoch: int) -> int:
        """A draw of the epoch, 64 bits, beside its order."""
        return int(self._draws(epoch)[0])

    def _draws(self, epoch: int) -> np.ndarray:
        """(1 + ROUNDS,): the extra draw, then the keys."""
        if self._first is None or self._first[0] != epoch:
            self._first = epoch, _raw(self.seed or 0, epoch, 1 + ROUNDS)
        return self._first[1]

    def _sorted(self, epoch: int, skip: int) -> np.ndarray:
        if self._dealt is None or self._dealt[:2] != (epoch, skip):
            raw = _raw(self.seed or 0, epoch, self.n + skip)
            self._dealt = epoch, skip, np.argsort(raw[skip:], kind="stable")
        return self._dealt[2]


def permuted(numbers: np.ndarray, n: int, keys: np.ndarray) -> np.ndarray:
    """Each of ``numbers`` (uint64, below n) under the permutation of 0 to n - 1 that ``keys`` (uint64, an even number of them) choose."""
    bits = max(2, (n - 1).bit_length())
    out = _network(numbers, bits, keys)
    while (beyond := np.flatnonzero(out >= n)).size:  # at most half of all are, so a few rounds end it
        out[beyond] = _network(out[beyond], bits, keys)
    return out


def _network(numbers: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of 0 to 2**bits - 1. Each round adds to one half what the other says, and changes their places."""
    left, right = bits // 2, bits - bits // 2
    high, low = numbers >> np.uint64(right), numbers & np.uint64((1 << right) - 1)
    for key in keys:
        high, low = low, high ^ (_mixed(low + key) & np.uint64((1 << left) - 1))
        left, right = right, left
    return (high << np.uint64(right)) | low


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the number changes every bit of what comes out."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _raw(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) uint64. The raw stream of a bit generator is fixed by definition, which that of Generator.permutation is not."""
    return np.asarray(np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count))
