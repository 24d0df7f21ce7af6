"""Calibration: when a model gives an answer 80 %, is it right in 80 % of such cases?

Guo et al. 2017, arXiv:1706.04599
"""

from __future__ import annotations

from itertools import chain

from components.errors import UserError
from components.measuring import Asked, Figure, Held, Prediction, drawn, share
from components.registry import register
from components.signature import Positive


@register("evaluation", "calibration")
class Calibration:
    """How sure the model is of each next token, or of each label, against how often it is right.

    ``expected_calibration_error`` is |accuracy - mean confidence| in each bin of confidence, averaged by how many predictions are in it;
    ``largest_gap`` is the largest of these differences, of bins with a hundredth of all predictions at least. No share of right answers
    has a chance level here: guessing depends on the vocabulary.

    Args:
        count: documents, or inputs with a label, drawn from the split.
        bins: of equal width between 0 and 1.
        top: also the share in which the right answer is among the first so many; 1: not.
        seed: of what is drawn.
    """

    asks = ("predictions",)

    def __init__(self, *, count: Positive = 1000, bins: Positive = 15, top: Positive = 5, seed: int = 0) -> None:
        self.count, self.bins, self.top, self.seed = count, bins, top, seed

    def measure(self, model: Asked, held: Held) -> dict[str, Figure]:
        asked = model.predict(drawn(held.items(), self.count, self.seed))
        made = list(chain.from_iterable(asked))
        if not made:
            raise UserError("evaluation.calibration", "the split has nothing to predict", "take another split or other data")
        of = [i for i, predictions in enumerate(asked) for _ in predictions]
        gaps = self.gaps(made)
        figures = {"accuracy": share([p.rank == 0 for p in made], of)}
        if self.top > 1:
            figures[f"top_{self.top}_accuracy"] = share([p.rank < self.top for p in made], of)
        return {
            **figures,
            "confidence": Figure(sum(p.confidence for p in made) / len(made), count=len(made)),
            "expected_calibration_error": Figure(sum(n * gap for n, gap in gaps) / len(made), count=len(made)),
            "largest_gap": Figure(max((gap for n, gap in gaps if 100 * n >= len(made)), default=0.0), count=len(made)),
        }

    def gaps(self, made: list[Prediction]) -> list[tuple[int, float]]:
        """(how many, |accuracy - mean confidence|) of each bin that has any."""
        bins: dict[int, list[Prediction]] = {}
        for p in made:
            bins.setdefault(min(int(p.confidence * self.bins), self.bins - 1), []).append(p)
        return [(len(own), abs(sum((p.rank == 0) - p.confidence for p in own)) / len(own)) for own in bins.values()]
