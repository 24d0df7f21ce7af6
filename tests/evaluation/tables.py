"""Subjects by hand: a table of which word follows which, one that draws its answers, and one that finds all texts alike."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from itertools import pairwise

from components.corpus.evaluation_api import EvalData


def tokens(text: str) -> list[str]:
    return ["<", *re.findall(r"\w+|\s+|[^\w\s]", text)]


class Table:
    """The probability of a word goes by the word before it, as counted in ``texts``. Keeps what it was asked."""

    def __init__(self, texts: list[str]) -> None:
        cut = [words for text in texts for words in [self.words(text)]]
        self.pairs = Counter(pair for words in cut for pair in pairwise(words))
        self.before = Counter(word for words in cut for word in words[:-1])
        self.size = len({word for words in cut for word in words}) + 1
        self.asked: list[str] = []

    @staticmethod
    def words(text: str) -> list[str]:
        return [token for token in tokens(text) if not token.isspace()]

    def fit(self, before: str, texts: list[str]) -> list[str]:
        return [before + text for text in texts]

    def score(self, texts: list[str]) -> list[float]:
        self.asked += texts
        return [self.log_probability(self.words(text)) for text in texts]

    def count(self, texts: list[str]) -> list[int]:
        return [len(self.words(text)) for text in texts]

    def log_probability(self, words: list[str]) -> float:
        return sum(math.log((self.pairs[a, b] + 1e-6) / (self.before[a] + 1e-6 * self.size)) for a, b in pairwise(words))


class Draws(Table):
    """Every text has a score of its own, drawn."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__([])
        self.seed = seed

    def log_probability(self, words: list[str]) -> float:
        return random.Random(f"{self.seed} {words}").random()


class Alike(Table):
    """All texts are equally likely."""

    def __init__(self) -> None:
        super().__init__([])

    def log_probability(self, words: list[str]) -> float:
        del words
        return -1.0


PLACES = (
    "kitchen",
    "garden",
    "cellar",
    "attic",
    "office",
    "stable",
    "harbour",
    "forest",
    "market",
    "tower",
    "valley",
    "bakery",
)
WHO = ("cook", "rose", "rat", "bat", "clerk", "horse", "boat", "wolf", "trader", "guard", "river", "baker")


def story(i: int) -> str:
    """Who it is says where: the place follows its own adjective, so that a table of pairs knows it."""
    return (
        f"One day the {WHO[i % 12]} was seen in the {WHO[i % 12]}ish {PLACES[i % 12]}. It is said (by {i}) that all are well."
    )


STORIES = [story(i) for i in range(240)]


def held(texts: list[str] = STORIES) -> EvalData:
    return EvalData(texts=lambda: texts, seen=lambda: texts)
