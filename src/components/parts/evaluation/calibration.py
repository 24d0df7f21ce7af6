"""Calibration: when a model gives an answer 80 %, is it right in 80 % of such cases?

Guo et al. 2017, arXiv:1706.04599
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.corpus.evaluation_api import (
    FEW,
    HIGHER,
    LOWER,
    Better,
    EvalData,
    EvaluatedModel,
    Figure,
    Prediction,
    mean_with_error,
    sample,
)

Bins = dict[int, list[float]]


@register("evaluation", "calibration")
class Calibration:
    """How sure the model is of each next token, or of each label, against how often it is right.

    ``expected_calibration_error`` is |accuracy - mean confidence| in each bin of confidence, averaged by how many predictions are in it; its
    standard error leaves out one document after another. ``largest_gap`` is the largest of these differences, of bins with a hundredth of
    all predictions at least. No share of right answers has a chance level here: guessing depends on the vocabulary.

    Args:
        count: documents, or inputs with a label, drawn from the split.
        bins: of equal width between 0 and 1.
        top: also the share in which the right answer is among the first so many; 1: not.
        seed: of what is drawn.
    """

    asks = ("predictions",)

    def __init__(self, *, count: Positive = 1000, bins: Positive = 15, top: Positive = 5, seed: int = 0) -> None:
        self.count, self.bins, self.top, self.seed = count, bins, top, seed
        right = ("accuracy", *((f"top_{top}_accuracy",) if top > 1 else ()))
        gaps: dict[str, Better] = dict.fromkeys(("expected_calibration_error", "largest_gap"), LOWER)
        self.gives: Mapping[str, Better] = {**dict.fromkeys(right, HIGHER), "confidence": None, **gaps}

    def measure(self, model: EvaluatedModel, held: EvalData) -> dict[str, Figure]:
        asked = model.predict(sample(held.items(), self.count, self.seed))
        made = list(chain.from_iterable(asked))
        if not made:
            raise UserError("evaluation.calibration", "the split has nothing to predict", "take another split or other data")
        of = [i for i, predictions in enumerate(asked) for _ in predictions]
        bins = self.bins_of(range(len(made)), made)
        gaps = [(n, abs(over) / n) for n, over in bins.values()]
        figures = {"accuracy": mean_with_error([p.rank == 0 for p in made], of)}
        if self.top > 1:
            figures[f"top_{self.top}_accuracy"] = mean_with_error([p.rank < self.top for p in made], of)
        return {
            **figures,
            "confidence": mean_with_error([p.confidence for p in made], of),
            "expected_calibration_error": Figure(expected(bins), self.error(bins, made, of), len(made)),
            "largest_gap": Figure(max((gap for n, gap in gaps if 100 * n >= len(made)), default=0.0), count=len(made)),
        }

    def bins_of(self, which: Iterable[int], made: list[Prediction]) -> Bins:
        """{bin: [how many predictions, how many more were right than was thought]} of the bins that have any."""
        bins: Bins = {}
        for i in which:
            p = made[i]
            own = bins.setdefault(min(int(p.confidence * self.bins), self.bins - 1), [0, 0.0])
            own[0] += 1
            own[1] += (p.rank == 0) - p.confidence
        return bins

    def error(self, whole: Bins, made: list[Prediction], of: list[int]) -> float | None:
        """Standard error of the expected calibration error by the jackknife: what it is without each document (Efron & Stein 1981)."""
        groups: dict[int, list[int]] = {}
        for i, document in enumerate(of if len(set(of)) >= FEW else range(len(made))):
            groups.setdefault(document, []).append(i)
        if len(groups) < 2:
            return None
        without = []
        for which in groups.values():
            left = dict(whole)
            for b, (n, over) in self.bins_of(which, made).items():
                left[b] = [whole[b][0] - n, whole[b][1] - over]
            without.append(expected(left))
        mean = sum(without) / len(without)
        return math.sqrt((len(groups) - 1) / len(groups) * sum((x - mean) ** 2 for x in without))


def expected(bins: Bins) -> float:
    """The gaps of all bins, by how many predictions are in them."""
    return sum(abs(over) for _, over in bins.values()) / sum(n for n, _ in bins.values())
