"""What an evaluation asks and gives: a model that answers, data that it was not trained on, and figures with their standard errors.

An evaluation is a part ``measure(model, data) -> {name: Figure}`` with a literal ``asks``, words of ``WORDS``. Whatever it asks beyond
them is refused in one line before anything is measured. ``gives`` says before that which figures there will be, and which way each is better:
studies are decided by them.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from components.corpus.example import Example

WORDS = ("likelihood", "writing", "predictions", "judge", "examples")
FEW = 10  # documents; fewer do not show how much they differ
T = TypeVar("T")
HIGHER: Literal["higher"] = "higher"
LOWER: Literal["lower"] = "lower"
Better: TypeAlias = Literal["higher", "lower"] | None  # None: neither, as of a baseline that only the data decide


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Args:
        value: the number.
        error: its standard error; None where it has none.
        count: the number of items that it is the mean of; 0 where it is not a mean.
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


class EvaluatedModel(Protocol):
    """A trained model with its tokenizer. It is given text and answers in text and numbers."""

    def fit(self, before: str, texts: Sequence[str]) -> list[str] | None:
        """Prepend ``before`` to every text. If a result exceeds the context, drop the same leading part of ``before`` from all of them;
        return None if a text alone is too long. Needs ``likelihood``."""
        ...

    def score(self, texts: Sequence[str]) -> list[float]:
        """The natural logarithm of the probability of each whole text, read from the beginning of a document. Needs ``likelihood``."""
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text. Needs ``likelihood``."""
        ...

    def write(
        self, prompts: Sequence[str], *, samples: int = 1, max_new_tokens: int, seed: int, stop: Sequence[str] = ()
    ) -> list[str]:
        """``samples`` continuations of each prompt by the run's decoding, prompt by prompt, without the prompt. Needs ``writing``."""
        ...

    def predict(self, items: Sequence[object]) -> list[list[Prediction]]:
        """The predictions for each of ``EvalData.items``: one for each token, or one for the label. Needs ``predictions``."""
        ...


def _nothing() -> list[Any]:
    return []


@dataclass(frozen=True)
class EvalData:
    """The split that is measured; and the training split, for counts and for examples in a prompt.

    Args:
        texts: the split's documents.
        seen: those of the training split.
        items: what ``EvaluatedModel.predict`` takes: the documents, or examples with a label.
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


def mean_with_error(hits: Sequence[float], groups: Sequence[Hashable] | None = None, *, chance: float | None = None) -> Figure:
    """The mean of ``hits``, each between 0 and 1.

    Items of one group (a document) are alike, so the standard error counts each group as one draw. With fewer than 10 groups it
    counts every item as a draw of its own.
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


def top1_credit(scores: Sequence[float]) -> float:
    """1 if the first of ``scores`` is the highest, else 0; scores that tie for the highest share the 1."""
    best = max(scores)
    return (scores[0] == best) / sum(s == best for s in scores)


def sample(items: Sequence[T], count: int, seed: int) -> list[T]:
    """``count`` random items, in their order; all of them where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), count))]


# the names that evaluations of other packages import until the next release
Asked, Held, drawn, share, won = EvaluatedModel, EvalData, sample, mean_with_error, top1_credit
