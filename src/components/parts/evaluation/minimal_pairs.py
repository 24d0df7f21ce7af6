"""Minimal pairs: is a line of held-out text likelier than the same line with one small fault?

Warstadt et al. 2020 (BLiMP), arXiv:1912.00582; here the faults are edits of real text
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from components.core.errors import UserError, nearest
from components.core.registry import register
from components.core.signature import Positive
from components.corpus.evaluation_api import (
    HIGHER,
    Better,
    EvalData,
    EvaluatedModel,
    Figure,
    mean_with_error,
    sample,
    top1_credit,
)
from components.parts.evaluation._words import WORD, pieces

PAIR = re.compile(rf"(?<![\w'’])(?=({WORD})( )({WORD})(?![\w'’]))")
BRACKET = re.compile(r"[)\]}]")


Edit = tuple[int, int, str]  # from, to, and what stands there instead


def swapped(line: str) -> list[Edit]:
    """Two adjacent words have changed places."""
    return [(m.start(1), m.end(3), m[3] + m[2] + m[1]) for m in PAIR.finditer(line) if m[1].casefold() != m[3].casefold()]


def exchanged(one: str, other: str, line: str) -> list[Edit]:
    """The word ``one`` has become ``other``, or the other way."""
    swap = {one: other, other: one, one.capitalize(): other.capitalize(), other.capitalize(): one.capitalize()}
    return [(m.start(), m.end(), swap[m[0]]) for m in re.finditer(rf"\b(?:{'|'.join(swap)})\b", line)]


def closed_otherwise(line: str) -> list[Edit]:
    """A closing bracket has become one of another kind."""
    return [(m.start(), m.end(), {")": "]", "]": ")", "}": ")"}[m[0]]) for m in BRACKET.finditer(line)]


EDITS = {
    "swapped_words": swapped,
    "is_are": lambda line: exchanged("is", "are", line),
    "was_were": lambda line: exchanged("was", "were", line),
    "brackets": closed_otherwise,
}


@register("evaluation", "minimal_pairs")
class MinimalPairs:
    """Real lines, or sentences of a line, against the same with one fault: the share in which the real one is likelier, for each kind of fault.

    The model reads the document up to the line and then the whole line, so that what follows from the fault within it counts. ``by_length`` is
    what preferring the text of fewer tokens gets: a tokenizer has learnt what stands together, so that an untrained model may be above chance.

    Args:
        count: pairs of each kind of fault, of different lines, drawn from all that the split has.
        edits: kinds of faults: swapped_words (two adjacent words), is_are, was_were, and brackets (a closing one of another kind).
        seed: of what is drawn.
    """

    asks = ("likelihood",)

    def __init__(
        self,
        *,
        count: Positive = 200,
        edits: tuple[str, ...] = ("swapped_words", "is_are", "was_were", "brackets"),
        seed: int = 0,
    ) -> None:
        for name in edits:
            if name not in EDITS:
                raise ValueError(f"edits={list(edits)}: there is no {name!r}; {nearest(name, EDITS, called='edits')}")
        if not edits:
            raise ValueError("edits=[]: there is nothing to compare")
        self.count, self.edits, self.seed = count, list(edits), seed
        apart: tuple[str, ...] = edits if len(edits) > 1 else ()
        self.gives: Mapping[str, Better] = {**dict.fromkeys(("accuracy", *apart), HIGHER), "by_length": None}

    def measure(self, model: EvaluatedModel, held: EvalData) -> dict[str, Figure]:
        lines = list(pieces(held.texts()))
        texts: list[str] = []
        asked: list[tuple[str, int]] = []  # (edit, document)
        for edit in self.edits:
            for span in sample([s for s in lines if EDITS[edit](s.piece)], self.count, self.seed):
                line, chosen = span.piece, random.Random(f"{self.seed} {edit} {span.document} {span.start}")
                start, end, instead = chosen.choice(EDITS[edit](line))
                if (pair := model.fit(span.before, [line, line[:start] + instead + line[end:]])) is not None:
                    texts += pair
                    asked.append((edit, span.document))
        if not asked:
            raise UserError(
                "evaluation.minimal_pairs",
                f"the split has no line for {' or '.join(self.edits)} that fits into the model's context",
                "take other edits, other data, or a longer context",
            )
        scores = model.score(texts)
        hits = [top1_credit(scores[at : at + 2]) for at in range(0, len(scores), 2)]
        figures = {"accuracy": mean_with_error(hits, [document for _, document in asked], chance=0.5)}
        for edit in self.edits:
            own = [(hit, document) for hit, (name, document) in zip(hits, asked) if name == edit]
            if own and len(self.edits) > 1:
                figures[edit] = mean_with_error([hit for hit, _ in own], [document for _, document in own], chance=0.5)
        counts = model.count(texts)
        shorter = [top1_credit([-counts[at], -counts[at + 1]]) for at in range(0, len(counts), 2)]
        return {**figures, "by_length": mean_with_error(shorter, [document for _, document in asked])}
