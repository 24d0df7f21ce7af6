"""Marks of three judges and the score that they should come to: a weighted vote, to be learnt."""

from __future__ import annotations

import random
from collections.abc import Iterator

from components.core.registry import register
from components.core.signature import NonNegative, Positive
from components.corpus.example import Example
from components.corpus.store import key_of

WORTH = (0.8, 0.4, 1.2)  # what each judge's mark counts; with them (0.1, 0.1, 0.4) comes to 0.6
FIRST = (0.1, 0.1, 0.4)


@register("data", "judges")
class Judges:
    """Marks of three judges, 0 to 1, and the score that they come to: 0.8, 0.4 and 1.2 times each. The first row is 0.1, 0.1, 0.4.

    Args:
        count: rows.
        seed: of the marks after the first row.
    """

    needs = {"embedding": ("values",)}  # there are no ids to look up
    provides = ("values", "amounts")

    def __init__(self, *, count: Positive = 64, seed: NonNegative = 0) -> None:
        self.count, self.seed = count, seed

    def fingerprint(self) -> str:
        return key_of("judges", WORTH, FIRST, self.count, self.seed)

    def examples(self) -> Iterator[Example]:
        drawn = random.Random(self.seed)
        for line in range(1, self.count + 1):
            marks = FIRST if line == 1 else tuple(round(drawn.random(), 2) for _ in WORTH)
            score = sum(w * m for w, m in zip(WORTH, marks))
            yield Example((marks,), (score,), "judges", line, "train" if line <= max(1, 3 * self.count // 4) else "validation")
