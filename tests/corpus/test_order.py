"""The order of an epoch: a permutation, found at once at any size, and the same for good."""

from __future__ import annotations

import pickle
import time
import tracemalloc

import numpy as np
import pytest

from components.corpus.order import DEALT_UP_TO, ROUNDS, EpochOrder, permuted


@pytest.mark.parametrize("n", [*range(1, 40), 63, 64, 65, 127, 1000, 4095, 4097, 65537])
def test_both_orders_are_permutations_and_differ_between_epochs_and_seeds(n):
    for how in ("dealt", "computed"):
        orders = [EpochOrder(n, seed, how).rows(epoch, range(n)) for seed, epoch in [(0, 0), (0, 1), (1, 0)]]
        for order in orders:
            assert order.dtype == np.int64
            assert np.array_equal(np.sort(order), np.arange(n))
        if n > 8:
            assert len({order.tobytes() for order in orders}) == 3


def test_orders_are_fixed_for_good():
    """A run is resumed years later by (seed, epoch, place)."""
    assert EpochOrder(10, 7, "dealt").rows(0, range(4)).tolist() == [8, 4, 3, 6]
    assert EpochOrder(10, 7, "dealt").rows(0, range(4), extra=True).tolist() == [7, 3, 2, 5]
    assert EpochOrder(10**8, 7).rows(3, [0, 1, 2, 10**8 - 1]).tolist() == [48774430, 67413594, 88883275, 15430028]


def test_what_was_asked_before_plays_no_part():
    order, n = EpochOrder(100_003, 5), 100_003
    assert order.how == "computed"
    whole = order.rows(2, np.arange(n))
    order.rows(4, [3, 1])
    assert np.array_equal(order.rows(2, [17, 4, n - 1]), whole[[17, 4, n - 1]])
    again = pickle.loads(pickle.dumps(order))
    assert np.array_equal(again.rows(2, [17, 4]), whole[[17, 4]])


def test_a_computed_order_is_as_good_as_chance():
    """Every place gets every tenth of the rows equally often, and neighbours do not stay together."""
    n = 100_000
    tenths, near = np.zeros((10, 10)), 0
    for epoch in range(20):
        order = EpochOrder(n, 3, "computed").rows(epoch, np.arange(n))
        np.add.at(tenths, (np.arange(n) * 10 // n, order * 10 // n), 1)
        near += int((np.abs(np.diff(order)) == 1).sum())
        assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 5 / n**0.5
    expected = 20 * n / 100
    assert ((tenths - expected) ** 2 / expected).sum() < 81 + 5 * (2 * 81) ** 0.5  # chi-squared of 9 x 9 degrees of freedom
    assert near < 2 * 20 + 5 * 40**0.5  # two of n on average in each


def test_every_permutation_of_few_rows_comes_up():
    """Of 4 rows there are 24 orders, each as likely as any other."""
    counts: dict[bytes, int] = {}
    for epoch in range(4800):
        got = EpochOrder(4, 1, "computed").rows(epoch, range(4)).tobytes()
        counts[got] = counts.get(got, 0) + 1
    assert len(counts) == 24
    assert sum((c - 200) ** 2 / 200 for c in counts.values()) < 23 + 5 * 46**0.5


def test_a_row_is_found_in_the_same_time_and_memory_whatever_their_number():
    def cost(n: int) -> tuple[float, int]:
        times = []
        tracemalloc.start()
        for epoch in range(30):
            order = EpochOrder(n, 0)
            begun = time.perf_counter()
            order.rows(epoch, range(n - 64, n))
            times.append(time.perf_counter() - begun)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return min(times), peak

    few, many = cost(DEALT_UP_TO + 1), cost(10**10)
    assert many[0] < 3 * few[0] + 1e-3  # sorting 10¹⁰ numbers takes hours
    assert many[1] < 2 * few[1] < 1_000_000


def test_no_number_leaves_the_range():
    keys = np.arange(ROUNDS, dtype=np.uint64)
    for n in (2, 3, 2**33 + 1, 2**40 - 1):
        at = np.array([0, 1, n - 1], dtype=np.uint64)
        assert (permuted(at, n, keys) < n).all()
