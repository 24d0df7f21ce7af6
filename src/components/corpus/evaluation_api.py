"""What an evaluation asks and gives: ``Asked``, a model that answers; ``Held``, data that it was not trained on; ``Figure``, a number and how sure it is.

An evaluation is a part ``measure(model, held) -> {name: Figure}`` with a literal ``asks``, words of ``WORDS``: what is asked beyond them
is refused in one line before anything is measured.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from components.corpus.example import Example

WORDS = ("likelihood", "writing", "predictions", "judge", "examples")
FEW = 10  # documents; of fewer nothing can be said about how they differ
T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Args:
        value: the number.
        error: its standard error; None where there is none to give.
        count: of how many items it is the mean; 0 where it is none.
        chance: what guessing gives; None where guessing has no meaning.
    """

    value: float
    error: float | None = None
    count: int = 0
    chance: float | None = None


class Prediction(NamedTuple):
    """``confidence``: the probability of the likeliest answer; ``rank``: the number of answers that are likelier than the right one."""

    confidence: float
    rank: int


class Asked(Protocol):
    """A trained model with its tokenizer, asked in text."""

    def fit(self, before: str, texts: Sequence[str]) -> list[str] | None:
        """``before`` + each of ``texts``, where they are longer than the model reads without the beginning of ``before``, the same for all;
        None where even the texts alone are longer. Likelihood."""
        ...

    def score(self, texts: Sequence[str]) -> list[float]:
        """The natural logarithm of the probability of each whole text, as a document begins. Likelihood."""
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has. Likelihood."""
        ...

    def write(
        self, prompts: Sequence[str], *, samples: int = 1, max_new_tokens: int, seed: int, stop: Sequence[str] = ()
    ) -> list[str]:
        """``samples`` continuations of each prompt, one after another, without the prompt, as the run's decoding chooses them. Writing."""
        ...

    def predict(self, items: Sequence[Any]) -> list[list[Prediction]]:
        """What the model predicts in each of ``Held.items``: its tokens, or its label. Predictions."""
        ...


def _nothing() -> list[Any]:
    return []


@dataclass(frozen=True)
class Held:
    """The split that is measured, and what was trained on for counts and for examples in a prompt.

    Args:
        texts: the split's documents.
        seen: those of the training split.
        items: what ``Asked.predict`` takes: the documents, or examples with a label.
        examples: the split's examples with their answers; empty where the data have none.
        shown: those of the training split.
        labels: answers of examples, where they are labels.
        judge: whether the data's own rule accepts a text, or None.
    """

    texts: Callable[[], Iterable[str]] = _nothing
    seen: Callable[[], Iterable[str]] = _nothing
    items: Callable[[], Sequence[Any]] = _nothing
    examples: Callable[[], Sequence[Example]] = _nothing
    shown: Callable[[], Sequence[Example]] = _nothing
    labels: tuple[str, ...] = field(default=())
    judge: Callable[[str], bool] | None = None


def share(hits: Sequence[float], groups: Sequence[Hashable] | None = None, *, chance: float | None = None) -> Figure:
    """The mean of ``hits``, each between 0 and 1.

    The standard error counts items of one group (a document) as one draw, for they are alike; of fewer than 10 groups nothing
    can be said, and items count as drawn apart.
    """
    n = len(hits)
    mean = sum(hits) / n
    apart = groups is None or len(set(groups)) < FEW
    sums: dict[Hashable, list[float]] = defaultdict(lambda: [0.0, 0])
    for group, hit in zip(range(n) if apart else groups or (), hits):
        sums[group][0] += hit
        sums[group][1] += 1
    m = len(sums)
    error = math.sqrt(m / (m - 1) * sum((s - mean * k) ** 2 for s, k in sums.values())) / n if m > 1 else None
    return Figure(mean, error, n, chance)


def won(scores: Sequence[float]) -> float:
    """Whether the first of ``scores`` is the highest; of several that are the highest each has its part."""
    best = max(scores)
    return (scores[0] == best) / sum(s == best for s in scores)


def drawn(items: Sequence[T], count: int, seed: int) -> list[T]:
    """``count`` of the items, in their order; all where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), count))]
