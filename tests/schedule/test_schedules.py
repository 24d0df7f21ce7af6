"""Exact factors at the knots of every schedule."""

from __future__ import annotations

import math

import pytest
import torch

from components import build
from components.core import registry
from components.core.errors import UserError


def schedule(name, **options):
    return build("schedule", name, total_steps=100, **options)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd", "inverse_sqrt", "polynomial", "step", "multi_step"])
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


@pytest.mark.parametrize("name", sorted(set(registry.names("schedule")) - {"constant"}))
def test_a_run_without_an_end_is_refused(name):
    with pytest.raises(UserError, match="total_steps=0"):
        build("schedule", name, total_steps=0)


def test_inverse_sqrt_is_noam_in_units_of_its_peak():
    s, w = schedule("inverse_sqrt", warmup=0.09), 10  # the peak is the tenth step
    noam = [min((i + 1) ** -0.5, (i + 1) * w**-1.5) / w**-0.5 for i in range(300)]
    assert [s(i) for i in range(300)] == pytest.approx(noam, rel=1e-12)
    assert schedule("inverse_sqrt", warmup=0.0)(3) == 0.5
    assert schedule("inverse_sqrt", floor=0.4)(10**6) == 0.4


def test_polynomial():
    s = schedule("polynomial", warmup=0.2, power=2.0, floor=0.1)
    assert [s(i) for i in (20, 60, 100, 500)] == pytest.approx([1, 0.1 + 0.9 / 4, 0.1, 0.1])
    linear = schedule("linear", warmup=0.2)
    assert [schedule("polynomial", power=1.0, warmup=0.2)(i) for i in range(120)] == [linear(i) for i in range(120)]


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@pytest.mark.parametrize("three_phases", [False, True])
@pytest.mark.parametrize("rise", [0.0, 0.25, 0.3, 0.5])
def test_one_cycle_is_torchs(shape, three_phases, rise):
    if three_phases and rise == 0.0:
        pytest.skip("torch's second phase would end before it begins")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=50, pct_start=rise, anneal_strategy=shape[:3] if shape == "cosine" else shape,
        cycle_momentum=False, div_factor=20.0, final_div_factor=100.0, three_phase=three_phases,
    )  # fmt: skip
    options = {"rise": rise, "shape": shape, "three_phases": three_phases, "start_divisor": 20.0, "end_divisor": 100.0}
    ours = build("schedule", "one_cycle", total_steps=50, **options)
    for step in range(50):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9), step
        optimizer.step()
        if step < 49:
            theirs.step()
    assert ours(1000) == pytest.approx(1 / 2000)


def test_one_cycle_refuses_what_has_no_peak():
    for options, text in (({"start_divisor": 0.5}, "at least 1"), ({"rise": 0.6, "three_phases": True}, "at most 0.5")):
        with pytest.raises(UserError, match=text):
            schedule("one_cycle", **options)


def test_steps():
    s = schedule("step", every=0.25, factor=0.1, warmup=0.0)
    assert [s(i) for i in (0, 24, 25, 50, 99)] == pytest.approx([1, 1, 0.1, 0.01, 0.001])
    s = schedule("multi_step", at=[0.5, 0.75], factor=0.5, warmup=0.0)
    assert [s(i) for i in (0, 49, 50, 74, 75, 200)] == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])
    for at in ([0.9, 0.8], [0.0], [1.5]):
        with pytest.raises(UserError, match="in order"):
            schedule("multi_step", at=at)


def test_sequence_gives_each_its_share_as_if_it_were_the_whole():
    parts = [{"name": "linear", "warmup": 0.5, "floor": 0.2}, "constant", {"name": "cosine", "warmup": 0.0}]
    s = schedule("sequence", parts=parts, shares=[0.2, 0.3, 0.5])
    linear = build("schedule", "linear", total_steps=20, warmup=0.5, floor=0.2)
    cosine = build("schedule", "cosine", total_steps=50, warmup=0.0)
    assert [s(i) for i in range(130)] == [linear(i) for i in range(20)] + [1.0] * 30 + [cosine(i) for i in range(80)]
    halves = schedule("sequence", parts=["constant", {"name": "linear", "warmup": 0.0}])
    assert [halves(i) for i in (49, 50, 75)] == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"parts": []}, "at least one"),
        ({"shares": [1.0]}, "as many shares"),
        ({"shares": [0.5, 0.6]}, "1 in all"),
        ({"shares": [0.001, 0.999]}, "without a step"),
    ],
)
def test_sequence_refuses_shares_that_do_not_fit(options, text):
    with pytest.raises(UserError, match=text):
        schedule("sequence", **options)
