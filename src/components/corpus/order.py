"""The order in which an epoch reads its rows: a function of (seed, epoch), the same on every machine.

A short order is dealt: one random number for each row, sorted. A long one is computed: a keyed permutation of 0 to n - 1 that needs no table, so that a
row is found in the same time and memory whether there are 10⁵ rows or 10¹⁰. It is a Feistel network (Luby and Rackoff 1988) over two coordinates of the row's
number, with cycle walking for the few numbers beyond n (Black and Rogaway 2002).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

How = Literal["dealt", "computed"]

DEALT_UP_TO = 2**16  # rows; sorting so many takes milliseconds. Runs of before this number was there have dealt every order
ROUNDS = 6  # 4 are enough for a pseudorandom permutation


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
    """Each of ``numbers`` (uint64, below n) under the permutation of 0 to n - 1 that ``keys`` (uint64) choose."""
    rows = math.isqrt(n - 1) + 1
    columns = -(-n // rows)  # rows * columns is n, or a little more
    out = _network(numbers, rows, columns, keys)
    while (beyond := np.flatnonzero(out >= n)).size:
        out[beyond] = _network(out[beyond], rows, columns, keys)
    return out


def _network(numbers: np.ndarray, rows: int, columns: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of 0 to rows * columns - 1. Each round moves one coordinate by what the other says."""
    wide = np.uint64(columns)
    at, other = [numbers // wide, numbers % wide], [np.uint64(rows), wide]
    for i, key in enumerate(keys):
        moved, by = i % 2, 1 - i % 2
        at[moved] = (at[moved] + mixed(at[by] + key) % other[moved]) % other[moved]
    return at[0] * wide + at[1]


def mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the number changes every bit of what comes out."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _raw(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) uint64. The raw stream of a bit generator is fixed by definition, which that of Generator.permutation is not."""
    return np.asarray(np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count))
