"""A difference in words, with no more digits than it has."""

from __future__ import annotations

import math
from collections.abc import Mapping

from components.core.errors import cut
from components.studies.effect import CONSTANT, NONE, ONE_SEED, SAME, UNTOLD, Effect
from components.studies.statistics import MOST_SEEDS

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MOST_REASON = 120  # characters of an error in a sentence


def of_effect(effect: Effect) -> str:
    """``lower by 0.031 ± 0.009``, ``higher by``, or ``cannot be told`` with what could have been seen; then what is missing."""
    parts = [_found(effect)]
    if effect.stopped_after is not None:
        parts.append(f"stopped after {seeds(effect.stopped_after)}")
    if effect.lost and effect.seeds:
        parts.append(f"without {missing(effect.lost)}")
    return "; ".join(parts)


def _found(effect: Effect) -> str:
    n, mean = len(effect.seeds), effect.mean
    if mean is None or effect.verdict == NONE:
        return f"not compared: {missing(effect.lost) or 'it has no run'}"
    by = f"{'lower' if mean < 0 else 'higher'} by"
    if effect.verdict == ONE_SEED:
        return f"{f'{by} {rounded(mean)}' if mean else 'equal'} with one seed, which says nothing of others: take three or more"
    if effect.verdict == SAME:
        return f"the same to the last bit with each of {seeds(n)}"
    if effect.verdict == CONSTANT:
        return f"{by} exactly {rounded(mean)} with each of {seeds(n)}: where nothing varies there is nothing to test"
    if effect.verdict == UNTOLD:
        needed = f"more than {MOST_SEEDS:,}" if effect.seeds_needed is None else f"about {about(effect.seeds_needed)}"
        seen = f"with {seeds(n)} a difference of {rounded(effect.detectable or 0.0)} would have been seen"
        return f"cannot be told: {seen}; to tell {rounded(mean)} take {needed}"
    low, high = effect.interval or (mean, mean)
    return f"{by} {with_error(abs(mean), (high - low) / 2)}"


def seeds(n: int) -> str:
    return f"{n} seed{'' if n == 1 else 's'}"


def missing(lost: Mapping[int, str]) -> str:
    """``seeds 0, 2 (out of memory), seed 1 (its val_loss is not finite)``: the seeds of each reason."""
    reasons: dict[str, list[str]] = {}
    for seed, why in lost.items():
        reasons.setdefault(cut(why, MOST_REASON), []).append(str(seed))
    return ", ".join(f"seed{'s' if len(of) > 1 else ''} {', '.join(of)} ({why})" for why, of in reasons.items())


def about(n: int) -> str:
    """A number of seeds, rounded up to two digits."""
    step = 10 ** max(0, len(str(n)) - 2)
    return f"{-(-n // step) * step:,}"


def rounded(value: float, digits: int = 2) -> str:
    """The size of a value with so many significant digits, without an exponent where that is short."""
    value = abs(value)
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(value))
    value = round(value, places)
    return f"{value:.{digits - 1}e}" if places > 6 else f"{value:,.{max(0, places)}f}"


def with_error(value: float, error: float) -> str:
    """``0.031 ± 0.009``: the error with one digit, with two where it begins with 1 or 2, and the value with as many places."""
    if error <= 0:
        return rounded(value)
    exponent = math.floor(math.log10(error))
    places = (1 if error / 10**exponent < 2.95 else 0) - exponent
    if places > 6:
        return f"{value:.2e} ± {error:.0e}"
    shown = max(0, places)
    return f"{round(value, places):,.{shown}f} ± {round(error, places):,.{shown}f}"


def amount(value: float, unit: str = "") -> str:
    """``132 k``, ``1.03 M``: three digits and a prefix."""
    size, prefix = prefix_of(value)
    return f"{value / size:.3g} {prefix}{unit}".rstrip()


def prefix_of(value: float) -> tuple[float, str]:
    """(1000.0, "k") and the like for values from ten thousand on; (1.0, "") below."""
    return next((p for p in PREFIXES if abs(value) >= max(p[0], 1e4)), (1.0, ""))
