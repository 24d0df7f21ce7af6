"""When a variant needs no more seeds: a group-sequential test, whose looks together err at most as often as one test would."""

from __future__ import annotations

from collections.abc import Sequence

from components.studies.statistics import above_zero

ALPHA = 0.05  # that any variant which is not behind is stopped, over all variants and looks
FIRST = 3  # pairs of the first look: two have one degree of freedom


def behind(differences: Sequence[float], planned: int, variants: int, alpha: float = ALPHA) -> int | None:
    """After how many seeds a variant is behind beyond doubt; None: it is not.

    At each look, after 3, 4, ... seeds, a one-sided paired t-test is held to an equal share of ``alpha``: alpha / (looks x variants). By the
    union bound the chance of any false stop is at most ``alpha``, however the looks depend on one another.

    Args:
        differences: to the recipe within a seed, in the order of seeds; above 0 is worse.
        planned: seeds of the study. The last look stops nothing, so it is left out.
        variants: compared with the recipe.
        alpha: of all looks and variants.
    """
    looks = range(FIRST, planned)
    for seen in looks:
        if seen <= len(differences) and above_zero(differences[:seen]) < alpha / (len(looks) * variants):
            return seen
    return None
