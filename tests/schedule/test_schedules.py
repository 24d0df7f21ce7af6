"""Exact factors at the knots of every schedule."""

from __future__ import annotations

import math

import pytest

from components import build, registry
from components.errors import UserError


def schedule(name, **options):
    return build("schedule", name, total_steps=100, **options)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd"])
def test_warm_up_rises_in_equal_steps_to_one(name):
    s = schedule(name, warmup=0.1)
    assert [s(i) for i in range(11)] == pytest.approx([(i + 1) / 11 for i in range(11)], abs=1e-12)


@pytest.mark.parametrize("name", registry.names("schedule"))
def test_every_schedule_stays_within_zero_and_one_and_never_starts_at_zero(name):
    s = schedule(name)
    factors = [s(i) for i in range(120)]
    assert all(0 <= f <= 1 for f in factors)
    assert factors[0] > 0
    assert max(factors) == 1


def test_constant_needs_no_end():
    assert build("schedule", "constant", total_steps=-1)(10**6) == 1.0
    with pytest.raises(UserError, match="total_steps=-1"):
        build("schedule", "constant", total_steps=-1, warmup=0.1)


def test_linear():
    s = schedule("linear", warmup=0.2, floor=0.1)
    assert [s(i) for i in (20, 60, 100, 500)] == pytest.approx([1, 0.55, 0.1, 0.1])


def test_cosine():
    s = schedule("cosine", warmup=0.2, floor=0.1)
    assert [s(i) for i in (20, 40, 60, 100)] == pytest.approx([1, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2, 0.55, 0.1])


@pytest.mark.parametrize(("shape", "quarter"), [("linear", 0.75), ("sqrt", 0.5), ("cosine", (1 + math.sqrt(0.5)) / 2)])
def test_wsd(shape, quarter):
    s = schedule("wsd", warmup=0.1, decay=0.4, shape=shape, floor=0.2)
    assert [s(i) for i in (10, 30, 60, 70, 100)] == pytest.approx([1, 1, 1, 0.2 + 0.8 * quarter, 0.2])


def test_wsd_without_a_decay_or_with_nothing_else():
    assert schedule("wsd", warmup=0.0, decay=0.0)(99) == 1.0
    assert schedule("wsd", warmup=0.0, decay=1.0)(50) == pytest.approx(0.5)
    with pytest.raises(UserError, match="more than the whole run"):
        schedule("wsd", warmup=0.5, decay=0.6)


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd"])
def test_a_run_without_an_end_is_refused(name):
    with pytest.raises(UserError, match="total_steps=0"):
        build("schedule", name, total_steps=0)
