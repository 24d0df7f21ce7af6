"""The law of a ladder: constants that are known are found again, its intervals hold them, and what points cannot tell is not said."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

pytest.importorskip("scipy")

from components.core.errors import UserError
from components.studies.sizes.backtest import backtest, sentence
from components.studies.sizes.law import COMPUTE, SIZE_AND_TOKENS, Point, fit, form_of

SIZES = (200_000, 500_000, 1_000_000, 2_000_000)
CHINCHILLA = {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28}  # Hoffmann 2022, eq. 10
POWER = {"E": 1.5, "C": 60.0, "gamma": 0.15}


def chinchilla(n, d):
    c = CHINCHILLA
    return c["E"] + c["A"] / n ** c["alpha"] + c["B"] / d ** c["beta"]


def grid(ratios):
    return [Point(n, n * r, 6.0 * n * n * r, chinchilla(n, n * r)) for n in SIZES for r in ratios]


def ladder():
    flops = [6.0 * n * n for n in SIZES]
    return [Point(n, n, f, POWER["E"] + POWER["C"] / f ** POWER["gamma"]) for n, f in zip(SIZES, flops)]


def noisy(points, seeds, size, draw):
    return [
        Point(p.parameters, p.tokens, p.flops, p.loss * math.exp(draw.gauss(0, size))) for _ in range(seeds) for p in points
    ]


def test_the_constants_of_the_paper_are_found_again():
    law = fit(grid((5, 10, 20)))
    assert law.form == SIZE_AND_TOKENS
    assert law.constants == pytest.approx(CHINCHILLA, rel=1e-4)
    assert law.loss(4_000_000, 80_000_000, 0.0) == pytest.approx(chinchilla(4e6, 8e7), rel=1e-6)


def test_where_tokens_move_with_size_the_law_is_over_flops():
    law = fit(ladder())
    assert law.form == COMPUTE
    assert law.constants == pytest.approx(POWER, rel=1e-4)


@pytest.mark.parametrize("points", [ladder(), grid((10,)), [Point(n, 10**6, 6e6 * n, 3.0) for n in SIZES]])
def test_two_exponents_are_not_told_from_one_line_of_points(points):
    assert form_of(points) == COMPUTE


def test_an_interval_of_a_prediction_holds_what_comes_in_most_ladders():
    draw, flops = random.Random(0), 6.0 * 4e6**2
    truth = POWER["E"] + POWER["C"] / flops ** POWER["gamma"]
    inside = 0
    for _ in range(5):
        low, high = fit(noisy(ladder(), 3, 0.002, draw)).interval(4_000_000, 4_000_000, flops, 3)
        found = sum(truth * math.exp(draw.gauss(0, 0.002)) for _ in range(3)) / 3
        inside += low <= found <= high
    assert inside >= 4  # of 5 at 95 %; the constants alone, without the noise of runs, are not asked


@pytest.mark.slow  # 200 ladders of 12 runs, each fitted 200 times anew: four minutes
@pytest.mark.timeout(3600)
def test_of_many_ladders_95_in_100_intervals_hold_what_comes():
    """Nothing else is between what is said and what comes than chance: three standard deviations of 200 draws at 95 % are allowed."""
    draw, flops, ladders, noise = random.Random(7), 6.0 * 4e6**2, 200, 0.002
    truth = POWER["E"] + POWER["C"] / flops ** POWER["gamma"]
    inside = 0
    for _ in range(ladders):
        low, high = fit(noisy(ladder(), 3, noise, draw)).interval(4_000_000, 4_000_000, flops, 3)
        found = sum(truth * math.exp(draw.gauss(0, noise)) for _ in range(3)) / 3
        inside += low <= found <= high
    allowed = 3 * math.sqrt(0.95 * 0.05 / ladders)
    assert abs(inside / ladders - 0.95) <= allowed, f"{inside} of {ladders}"


def test_a_ladder_is_tested_on_its_own_dearest_size():
    held = backtest(ladder())
    assert (held.parameters, held.tokens) == (SIZES[-1], SIZES[-1])
    assert held.off == pytest.approx(0, abs=1e-4)
    assert held.found == ladder()[-1].loss
    assert held.within is None  # three runs, three constants
    noise = backtest(noisy(ladder(), 3, 0.002, random.Random(4)))
    assert noise.within
    assert "off by" in sentence(noise, "2M")
    assert "outside" not in sentence(noise, "2M")


def test_points_that_no_law_joins_are_told_by_the_test_on_itself():
    """The dearest size's rate was tuned badly: its loss lies 3 % above what the others say, five times their noise."""
    points = noisy(ladder(), 3, 0.002, random.Random(4))
    bent = [*(p for p in points if p.parameters != SIZES[-1])]
    bent += [replace(p, loss=1.03 * p.loss) for p in points if p.parameters == SIZES[-1]]
    held = backtest(bent)
    assert held.within is False
    assert held.off / held.found == pytest.approx(0.03, abs=0.015)
    assert "outside the interval. More than noise moves these points" in sentence(held, "2M")


def test_three_sizes_cannot_be_tested_on_themselves():
    assert backtest(ladder()[1:]) is None
    assert "fewer than three costs" in sentence(None, "")


def test_one_run_that_went_wrong_moves_the_law_little():
    """Huber's loss: least squares of the same points is off by several times as much."""
    points = noisy(ladder(), 5, 0.0005, random.Random(1))
    points[2] = Point(points[2].parameters, points[2].tokens, points[2].flops, points[2].loss * 1.2)
    flops = 6.0 * 4e6**2
    assert fit(points).loss(0, 0, flops) == pytest.approx(POWER["E"] + POWER["C"] / flops ** POWER["gamma"], rel=0.005)


def test_as_many_constants_as_runs_have_no_interval():
    law = fit(ladder()[:3])
    assert law.intervals == {}
    assert law.interval(1, 1, 1e14, 1) is None
    assert law.spread is None


def test_a_plain_power_shows_no_floor():
    law = fit([Point(n, n, 6.0 * n * n, 60.0 * (6.0 * n * n) ** -0.1) for n in SIZES])
    assert law.no_floor
    assert law.constants["gamma"] == pytest.approx(0.1, rel=1e-2)


def test_what_no_law_fits_is_refused():
    with pytest.raises(UserError, match="three sizes"):
        fit(ladder()[:2])
    with pytest.raises(UserError, match="positive losses"):
        fit([*ladder(), Point(1, 1, 1.0, -0.5)])
