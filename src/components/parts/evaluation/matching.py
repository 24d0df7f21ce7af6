"""Matching: which of several docstrings belongs to a function?

The docstring as the description of a function: Miceli Barone & Sennrich 2017, arXiv:1707.02275
"""

from __future__ import annotations

import ast
import random
import warnings
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.corpus.evaluation_api import Better, EvalData, EvaluatedModel, Figure, mean_with_error, sample, top1_credit


class Function(NamedTuple):
    """A Python function of document number ``document``, cut around its docstring."""

    document: int
    head: str
    docstring: str
    body: str


@register("evaluation", "matching")
class Matching:
    """A Python function with its own docstring against the same function with those of others: the share in which its own fits best.

    A docstring fits by how much likelier the whole function with it is than the docstring alone: log p(function with it) - log p(docstring), so that
    a short or common one has no advantage.

    Args:
        count: functions, drawn from all of the split that have a docstring and something after it.
        choices: docstrings for each, its own among them.
        seed: of what is drawn.
    """

    asks = ("likelihood",)
    gives: Mapping[str, Better] = {"accuracy": "higher"}

    def __init__(self, *, count: Positive = 100, choices: Positive = 8, seed: int = 0) -> None:
        if choices < 2:
            raise ValueError(f"choices={choices}: there is nothing to choose from one")
        self.count, self.choices, self.seed = count, choices, seed

    def measure(self, model: EvaluatedModel, held: EvalData) -> dict[str, Figure]:
        found = [f for i, text in enumerate(held.texts()) for f in functions(i, text)]
        docstrings = sorted({f.docstring for f in found})
        if len(docstrings) < self.choices:
            raise UserError(
                "evaluation.matching", f"the split has {len(docstrings)} docstrings of Python functions", "take data of Python"
            )
        texts: list[str] = []
        asked: list[int] = []
        for f in sample([f for f in found if model.fit("", [f.head + f.docstring + f.body])], self.count, self.seed):
            order = [d for d in docstrings if d != f.docstring]
            random.Random(f"{self.seed} {f.document} {f.head}").shuffle(order)
            fitting = (d for d in order if model.fit("", [f.head + d + f.body, d]))
            chosen = [f.docstring, *islice(fitting, self.choices - 1)]
            if len(chosen) == self.choices:
                texts += [*(f.head + d + f.body for d in chosen), *chosen]
                asked.append(f.document)
        if not asked:
            raise UserError("evaluation.matching", "no function fits into the model's context", "take a longer context")
        scores, n = model.score(texts), self.choices
        fits = [a - b for at in range(0, len(scores), 2 * n) for a, b in zip(scores[at : at + n], scores[at + n : at + 2 * n])]
        hits = [top1_credit(fits[at : at + n]) for at in range(0, len(fits), n)]
        return {"accuracy": mean_with_error(hits, asked, chance=1 / n)}


def functions(document: int, text: str) -> Iterator[Function]:
    """Functions of a text that is Python, at its margin, with a docstring on lines of its own and something after it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = text.splitlines(keepends=True)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and ast.get_docstring(node):
            first, last, start = node.body[0].lineno - 1, node.body[0].end_lineno or 0, node.lineno - 1
            if lines[first].lstrip()[:1] in "\"'rR" and node.body[1].lineno > last:
                yield Function(
                    document, "".join(lines[start:first]), "".join(lines[first:last]), "".join(lines[last : node.end_lineno])
                )
