"""The statistics of a study: paired differences, their intervals, Holm's correction, and what a number of seeds can see.

scipy does the work; it comes with the extra ``studies``. Holm's step-down procedure is written here since scipy has none.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

from components.core.extras import lacking

ALPHA, POWER = 0.05, 0.8  # of a whole family of tests; of one test, for the effect that a statement names
CONFIDENCE = 0.95  # of each interval by itself
LEAST_BOOTSTRAP = 5  # seeds; of fewer there are too few resamples that differ
RESAMPLES, RESAMPLING_SEED = 9_999, 0
ROUNDING = 1e-9  # a relative spread of differences below this is that of the subtraction
MOST_SEEDS = 10_000  # beyond that "more than" is answer enough

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The mean of differences within a seed.

    Args:
        mean: of the differences.
        sd: their standard deviation; None of one seed.
        interval: paired t, 95 %; None of one seed, and where all differences are equal.
        bootstrap: bias-corrected and accelerated, 95 %; None of fewer than five seeds.
        p: two-sided, of the paired t-test, uncorrected; None where there is no interval.
    """

    mean: float
    sd: float | None
    interval: Interval | None
    bootstrap: Interval | None
    p: float | None


def ready() -> None:
    """Ask for scipy before anything runs. Raises a UserError that says what installs it."""
    _scipy()


def paired(differences: Sequence[float]) -> Difference:
    """What finite differences within at least one seed say about their mean."""
    n, mean = len(differences), math.fsum(differences) / len(differences)
    if n == 1:
        return Difference(mean, None, None, None, None)
    if max(differences) - min(differences) <= ROUNDING * abs(mean):  # no spread: neither t nor bootstrap is defined
        return Difference(mean, 0.0, None, None, None)
    interval, p = t_test(differences)
    return Difference(mean, spread(differences), interval, _bootstrap(differences), p)


def interval_of(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of a mean by Student's t; None of fewer than two values."""
    return t_test(values)[0] if len(values) > 1 else None


def above_zero(differences: Sequence[float]) -> float:
    """p of the paired t-test whose alternative is a mean above 0; 1 where there is no spread, and so no test."""
    if max(differences) - min(differences) <= ROUNDING * abs(math.fsum(differences)):
        return 1.0
    return float(_scipy().ttest_1samp(differences, 0.0, alternative="greater").pvalue)


def unpaired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """p of Welch's t-test, two-sided: what a study without common seeds would say."""
    return float(_scipy().ttest_ind(ours, theirs, equal_var=False).pvalue)


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation of a sample (n - 1); None of fewer than two."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p: one at or below ``ALPHA`` keeps the chance of any false alarm in the family at ``ALPHA`` (Holm 1979, Scand. J. Stat. 6, 65-70)."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def power(effect: float, sd: float, seeds: int, alpha: float = ALPHA) -> float:
    """The chance that a paired t-test at level ``alpha``, two-sided, finds a mean difference of ``effect``: by the noncentral t."""
    return _power(abs(effect) / sd * math.sqrt(seeds), seeds, alpha)


def detectable(sd: float, seeds: int, alpha: float = ALPHA, wanted: float = POWER) -> float:
    """The least mean difference that ``seeds`` pairs find with power ``wanted``, where differences have standard deviation ``sd``."""
    high = 1.0
    while _power(high, seeds, alpha) < wanted:
        high *= 2
    from scipy.optimize import root_scalar

    shift = root_scalar(lambda x: _power(x, seeds, alpha) - wanted, bracket=(0.0, high), method="brentq").root
    return float(shift) * sd / math.sqrt(seeds)


def seeds_needed(effect: float, sd: float, alpha: float = ALPHA, wanted: float = POWER) -> int | None:
    """The fewest pairs that find a mean difference of ``effect`` with power ``wanted``; None if more than ``MOST_SEEDS``."""
    if effect == 0:
        return None
    return _first(lambda n: power(effect, sd, n, alpha) >= wanted)


def _first(holds: Callable[[int], bool]) -> int | None:
    """The least n from 2 to ``MOST_SEEDS`` at which something holds that goes on holding."""
    low, high = 1, 2
    while not holds(high):
        if high == MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _power(shift: float, seeds: int, alpha: float) -> float:
    if shift == 0:
        return alpha
    stats = _scipy()
    edge = float(stats.t.ppf(1 - alpha / 2, seeds - 1))
    # 1 - sf and not cdf: scipy's cdf is NaN far in the lower tail
    return float(stats.nct.sf(edge, seeds - 1, shift) + 1 - stats.nct.sf(-edge, seeds - 1, shift))


def t_test(values: Sequence[float]) -> tuple[Interval, float]:
    """The 95 % interval of the mean of two values or more that are not all equal, and p that it is not 0, by Student's t."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of values that are nearly alike: differences by rounding alone
        test = _scipy().ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(CONFIDENCE)
    return (float(low), float(high)), float(test.pvalue)


def _bootstrap(differences: Sequence[float]) -> Interval | None:
    if len(differences) < LEAST_BOOTSTRAP:
        return None
    import numpy as np

    found = _scipy().bootstrap(
        (np.asarray(differences),),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(RESAMPLING_SEED),  # the same study has the same answer
    )
    low, high = map(float, found.confidence_interval)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _scipy() -> ModuleType:
    try:
        from scipy import stats
    except ImportError as e:
        raise lacking("ablate", f"the statistics of a study need the package scipy ({e})", "scipy") from None
    return stats
