"""Cloze: is the last word of a held-out sentence likelier than other words that are about as frequent?

Paperno et al. 2016 (LAMBADA), arXiv:1606.06031, as a choice among few, since a small model rarely has the very word first
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import NonNegative, Positive
from components.corpus.evaluation_api import Better, EvalData, EvaluatedModel, Figure, mean_with_error, sample, top1_credit
from components.parts.evaluation._words import WORDS, last_words


@register("evaluation", "cloze")
class Cloze:
    """The last word of held-out sentences against four words of the same frequency band: the share in which it is the likeliest.

    The model reads the document up to the word; every choice is scored with it, and with the marks that end the sentence. Choices are last
    words of other sentences, ranked by their frequency in the training text and cut into bands. ``by_frequency`` is what the most
    frequent of the choices gets: how far frequency alone goes.

    Args:
        count: sentences, drawn from all that the split has.
        distractors: other words for each.
        band: so many words of neighbouring rank are one band.
        unit: what has a last word: sentence, ended by . ! or ?, or line.
        min_words: sentences with fewer words before the last are left out.
        seed: of what is drawn.
    """

    asks = ("likelihood",)
    gives: Mapping[str, Better] = {"accuracy": "higher", "by_frequency": None}

    def __init__(
        self,
        *,
        count: Positive = 200,
        distractors: Positive = 4,
        band: Positive = 20,
        unit: Literal["sentence", "line"] = "sentence",
        min_words: NonNegative = 3,
        seed: int = 0,
    ) -> None:
        if band <= distractors:
            raise ValueError(f"band={band} words are too few to draw distractors={distractors} and the right one from")
        self.count, self.distractors, self.band, self.unit, self.min_words = count, distractors, band, unit, min_words
        self.seed = seed

    def measure(self, model: EvaluatedModel, held: EvalData) -> dict[str, Figure]:
        found = list(last_words(held.texts(), self.unit, self.min_words))
        ranking = Ranking(held.seen(), self.unit, self.min_words, [last.word for last in found], self.seed)
        if len(ranking.words) <= self.distractors:
            raise UserError(
                "evaluation.cloze",
                f"the text has {len(ranking.words)} last words of a {self.unit}, too few to choose among",
                "take evaluation.cloze.unit=line, a larger text, or fewer distractors",
            )
        texts, items = [], []
        for last in sample(found, self.count, self.seed):
            order = random.Random(f"{self.seed} {last.span.document} {last.span.start}")
            chosen = order.sample(ranking.beside(last.word, self.band), self.distractors)
            choices = [last.word, *(like(word, last.word) for word in chosen)]
            if (whole := model.fit(last.span.before, [word + last.after for word in choices])) is not None:
                texts += whole
                items.append((last.span.document, [ranking.count[word.casefold()] for word in choices]))
        if not items:
            raise UserError(
                "evaluation.cloze", "no sentence of the split fits into the model's context", "take a longer context"
            )
        scores, n = model.score(texts), self.distractors + 1
        hits = [top1_credit(scores[at : at + n]) for at in range(0, len(scores), n)]
        documents = [document for document, _ in items]
        return {
            "accuracy": mean_with_error(hits, documents, chance=1 / n),
            "by_frequency": mean_with_error([top1_credit(counts) for _, counts in items], documents),
        }


class Ranking:
    """Last words of sentences in the order of how often they are in a text, as words of any place."""

    def __init__(self, texts: Iterable[str], unit: str, min_words: int, more: Iterable[str], seed: int) -> None:
        self.count: Counter[str] = Counter()
        ends = {word.casefold() for word in more}
        for text in texts:
            self.count.update(word.casefold() for word in WORDS.findall(text))
            ends |= {last.word.casefold() for last in last_words([text], unit, min_words)}
        order = random.Random(seed)  # of words that are equally frequent: their neighbours are none of the alphabet
        self.words = sorted(sorted(ends), key=lambda word: (self.count[word], order.random()))
        self.place = {word: i for i, word in enumerate(self.words)}

    def beside(self, word: str, band: int) -> list[str]:
        """The other words of its band: ``band`` words one after another from the rarest, in the last one what is left over as well."""
        n = max(1, len(self.words) // band)
        own = min(self.place[word.casefold()] // band, n - 1)
        words = self.words[own * band : None if own == n - 1 else (own + 1) * band]
        return [other for other in words if other != word.casefold()]


def like(word: str, model: str) -> str:
    """``word`` written with capitals as ``model`` is."""
    return word.upper() if model.isupper() and len(model) > 1 else word.capitalize() if model[0].isupper() else word
