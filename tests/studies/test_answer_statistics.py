"""The statistics of a study: closed forms, scipy's own answers, figures of statsmodels 0.15, and simulated normals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from components.studies import statistics
from components.studies.statistics import ALPHA, POWER, detectable, holm, paired, power, seeds_needed, spread, unpaired


def test_two_seeds_by_hand():
    """Of 1 and 3 the mean is 2, its standard error 1, and the t quantile with one degree of freedom tan(0.475 pi)."""
    found = paired([1.0, 3.0])
    half = math.tan(0.475 * math.pi)
    assert found.mean == 2.0
    assert found.sd == pytest.approx(math.sqrt(2))
    assert found.interval == pytest.approx((2 - half, 2 + half))
    assert found.p == pytest.approx(1 - 2 / math.pi * math.atan(2.0))  # Cauchy
    assert found.bootstrap is None


def test_the_intervals_are_scipys():
    values = np.random.default_rng(3).normal(0.02, 0.03, 8)
    found, test = paired(values.tolist()), stats.ttest_rel(values + 2.5, np.full(8, 2.5))
    assert found.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.p == pytest.approx(test.pvalue)
    again = stats.bootstrap((values,), np.mean, n_resamples=9_999, rng=np.random.default_rng(0))
    assert found.bootstrap == pytest.approx(tuple(again.confidence_interval))
    assert paired(values.tolist()) == found, "the same study has the same answer"
    assert unpaired(values.tolist(), [0.0, 0.1, 0.05]) == stats.ttest_ind(values, [0.0, 0.1, 0.05], equal_var=False).pvalue


def test_one_sided_is_scipys():
    values = np.random.default_rng(4).normal(0.02, 0.03, 6)
    assert statistics.above_zero(values.tolist()) == stats.ttest_1samp(values, 0, alternative="greater").pvalue
    assert statistics.above_zero([0.3, 0.1 + 0.2, 0.3]) == 1.0


@pytest.mark.parametrize(
    ("values", "mean"), [([0.0] * 5, 0.0), ([0.5] * 4, 0.5), ([0.1 + 0.2, 0.3], 0.3), ([-2.1 + 2.0, -3.1 + 3.0], -0.1)]
)
def test_no_spread_is_no_certainty(values, mean):
    """Equal differences, or such as differ by the rounding of a subtraction, have no interval of width zero and no p of zero."""
    found = paired(values)
    assert found.mean == pytest.approx(mean)
    assert (found.sd, found.interval, found.bootstrap, found.p) == (0.0, None, None, None)


def test_one_seed_has_a_difference_and_nothing_else():
    found = paired([0.3])
    assert (found.mean, found.sd, found.interval, found.p) == (0.3, None, None, None)
    assert spread([0.3]) is None


@pytest.mark.parametrize(
    ("ps", "adjusted"),
    [
        (
            [0.01, 0.04, 0.03, 0.005, 0.5],
            [0.04, 0.09, 0.09, 0.025, 0.5],
        ),  # statsmodels: multipletests(..., method="holm")
        ([0.02, 0.02, 0.02, 0.9], [0.08, 0.08, 0.08, 0.9]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm(ps, adjusted):
    assert holm(ps) == pytest.approx(adjusted)


def test_holm_rejects_as_the_procedure_says():
    """Smallest first, each against alpha over those that are left, until one fails."""
    for ps in np.random.default_rng(0).uniform(0, 0.06, (200, 5)):
        ordered, rejected = sorted(range(5), key=lambda i: ps[i]), set()
        for rank, i in enumerate(ordered):
            if ps[i] > ALPHA / (5 - rank):
                break
            rejected.add(i)
        assert {i for i, p in enumerate(holm(ps.tolist())) if p <= ALPHA} == rejected


def test_power_is_that_of_statsmodels():
    """``statsmodels.stats.power.TTestPower``: power of effects in standard deviations, the effect that is found, and the seeds."""
    assert power(0.5, 1.0, 10) == pytest.approx(0.2931756065, abs=1e-9)
    assert power(1.5, 1.0, 3) == pytest.approx(0.3163818616, abs=1e-9)
    assert power(-3.0, 2.0, 3) == power(1.5, 1.0, 3)
    assert power(0.0, 1.0, 3) == pytest.approx(ALPHA)
    assert detectable(1.0, 3) == pytest.approx(3.264043553, rel=1e-6)
    assert detectable(1.0, 5, ALPHA / 4) == pytest.approx(2.476790393, rel=1e-6)
    assert detectable(1.0, 10) == pytest.approx(0.9960019108, rel=1e-6)
    assert seeds_needed(0.5, 1.0) == 34  # 33.37


@pytest.mark.parametrize("seeds", [2, 3, 4, 8, 40, 1000])
@pytest.mark.parametrize("tests", [1, 3, 20])
def test_power_rises_to_one_and_is_turned_round(seeds, tests):
    """No gap where scipy's noncentral t has none: tails far away are NaN in some of its functions."""
    level = ALPHA / tests
    powers = [power(effect, 1.0, seeds, level) for effect in np.geomspace(1e-3, 1e5, 80)]
    assert all(a <= b + 1e-9 for a, b in pairwise(powers))
    assert powers[0] == pytest.approx(level, rel=0.01)
    assert powers[-1] == pytest.approx(1.0)
    effect = detectable(0.5, seeds, level)
    assert power(effect, 0.5, seeds, level) == pytest.approx(POWER, abs=1e-6)
    assert seeds_needed(effect * 1.0001, 0.5, level) == seeds


def test_seeds_that_nobody_has():
    assert seeds_needed(1e-6, 1.0) is None
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1e6, 1.0) == 2


def test_simulated_studies_find_what_was_promised():
    """Of 20,000 studies with the least detectable difference 80 % find it, and 5 % of those without any."""
    chance = np.random.default_rng(5)
    for seeds, level in ((2, ALPHA), (3, ALPHA / 4), (5, ALPHA)):  # statsmodels' solver says 5.00 instead of 6.55 of the second
        effect = detectable(0.02, seeds, level)
        for shift, wanted in ((effect, POWER), (0.0, level)):
            found = stats.ttest_1samp(chance.normal(shift, 0.02, (20_000, seeds)), 0.0, axis=1).pvalue < level
            assert found.mean() == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / 20_000))


def test_a_family_of_studies_without_effects_rarely_cries_wolf():
    """Four variants that differ in nothing from a recipe that they share: any false alarm in at most 5 % of studies."""
    chance, alarms, studies = np.random.default_rng(7), 0, 2_000
    for _ in range(studies):
        recipe, variants = chance.normal(0, 0.02, 5), chance.normal(0, 0.02, (4, 5))
        ps = stats.ttest_1samp(variants - recipe, 0.0, axis=1).pvalue
        alarms += min(holm(ps.tolist())) <= ALPHA
    assert alarms / studies <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies)
    assert alarms > 0, "they are tested at all"


def test_the_interval_covers_and_bootstrap_of_five_is_too_narrow():
    """Why the verdict is that of t: docs/decisions/the-statistics-of-a-study-are-scipys.md."""
    chance, covered, studies = np.random.default_rng(1), [0, 0], 400
    for _ in range(studies):
        found = paired(chance.normal(0, 1, 5).tolist())
        for i, interval in enumerate((found.interval, found.bootstrap)):
            covered[i] += interval is not None and interval[0] <= 0 <= interval[1]
    assert covered[0] / studies == pytest.approx(0.95, abs=0.035)
    assert covered[1] / studies < 0.90


def test_without_scipy_it_says_what_installs_it(monkeypatch):
    from components.core.errors import UserError

    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    with pytest.raises(UserError, match=r"lightning-components\[studies\]"):
        statistics.ready()
