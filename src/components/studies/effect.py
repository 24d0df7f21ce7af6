"""A variant beside the recipe in one figure: the numbers that the sentence is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.studies.statistics import Interval

LOWER, HIGHER, UNTOLD = "lower", "higher", "cannot be told"
SAME, CONSTANT, ONE_SEED, NONE = "the same", "without spread", "one seed", "not compared"


@dataclass(frozen=True)
class Effect:
    """One figure of a variant beside the recipe's, over the seeds of which both have one.

    Args:
        variant: its name.
        metric: the figure.
        seeds: those that are paired.
        differences: variant minus recipe, of each of them.
        lost: {seed: why it is not among them}.
        mean: of the differences; None without a pair.
        sd: of the differences.
        sd_single: of single runs, pooled over recipe and variant.
        interval, bootstrap, p: as in `statistics.Difference`.
        p_holm: corrected over the family; None of what cannot be tested.
        level: of one test of the family at its strictest, ``ALPHA`` over the number of tests: that of the two below.
        detectable: the difference that these seeds find with a chance of 80 %.
        seeds_needed: about how many find the difference that was seen; None of more than `statistics.MOST_SEEDS`.
        stopped_after: seeds after which the variant got no more; None if it got all.
        verdict: ``lower``, ``higher``, ``cannot be told``, ``the same``, ``without spread``, ``one seed``, ``not compared``.
        sentence: all that in words.
    """

    variant: str
    metric: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    lost: Mapping[int, str]
    mean: float | None = None
    sd: float | None = None
    sd_single: float | None = None
    interval: Interval | None = None
    bootstrap: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    level: float | None = None
    detectable: float | None = None
    seeds_needed: int | None = None
    stopped_after: int | None = None
    verdict: str = NONE
    sentence: str = ""
