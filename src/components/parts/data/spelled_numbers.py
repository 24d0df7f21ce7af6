"""Numbers digit by digit, and the same in words: pairs of any length in which each word comes from one digit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from components.core.registry import register
from components.core.signature import NonNegative, Positive
from components.corpus.example import Example
from components.corpus.store import key_of

WORDS = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "fr": ("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"),
    "de": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
}


@register("data", "spelled_numbers")
class SpelledNumbers:
    """Numbers of different lengths, "4 0 7", and their digits in words, "four zero seven": how far a memory reaches, by length.

    Args:
        count: pairs.
        shortest: digits of the shortest number.
        longest: digits of the longest one; all lengths between are as frequent.
        language: of the words.
        seed: of the digits.
    """

    provides = ("pairs",)

    def __init__(
        self,
        *,
        count: Positive = 4000,
        shortest: Positive = 1,
        longest: Positive = 16,
        language: Literal["en", "fr", "de"] = "en",
        seed: NonNegative = 0,
    ) -> None:
        if shortest > longest:
            raise ValueError(f"shortest={shortest} is more than longest={longest}")
        self.count, self.shortest, self.longest, self.language, self.seed = count, shortest, longest, language, seed

    def fingerprint(self) -> str:
        return key_of(
            "spelled_numbers", self.count, self.shortest, self.longest, self.language, WORDS[self.language], self.seed
        )

    def examples(self) -> Iterator[Example]:
        drawn = random.Random(self.seed)
        lengths = self.longest - self.shortest + 1
        for line in range(1, self.count + 1):
            digits = [drawn.randrange(10) for _ in range(self.shortest + line % lengths)]
            words = " ".join(WORDS[self.language][d] for d in digits)
            yield Example(" ".join(map(str, digits)), words, "spelled_numbers", line)
