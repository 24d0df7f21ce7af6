"""Tasks over preferences: what a pair is to them, and the figures that every loss over pairs gives."""

from __future__ import annotations

from typing import Any

from torchmetrics import MeanMetric

from components.core import registry
from components.core.abilities import JudgesOne
from components.core.errors import UserError
from components.corpus.example import Example, Message
from components.corpus.pairs import PairRows
from components.corpus.rows import LeftOut, Row
from components.training.task._conversing import Conversing, conversation_of
from components.training.task._terms import MeasuresTerms


class OverPairs(MeasuresTerms, Conversing):
    """The base of tasks that learn from pairs of answers: a task says what is asked of an answer (``side``).

    Args:
        batch_size: pairs per optimizer step, over all devices and micro-batches; a pair with an answer that is longer than the model reads is left out.
    """

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        rows = super().blocks(corpus, split, context)
        return None if rows is None else PairRows(rows, seed)

    def encode(self, example: Example, longest: int) -> tuple[Row, ...]:  # noqa: ARG002  half an answer has no end
        if not (isinstance(self.loss, JudgesOne) or all(example.answers)):
            what = f"has one answer, judged by itself, and loss/{self.config['loss']['name']} compares two"
            able = ", ".join(n for n in registry.names("loss") if isinstance(registry.find("loss", n), JudgesOne))
            raise UserError(example.where, what, f"give chosen and rejected, or take one of loss={able}")
        return tuple(self.side(*self.tokens(example, messages)) if messages else Row([], []) for messages in example.answers)

    def side(self, ids: list[int], asked: list[bool]) -> Row:
        """The row of a prompt and an answer. ``asked``: which tokens are the answer's; the last one is."""
        raise NotImplementedError(f"{type(self).__name__} says in side() what it asks of an answer")

    def tokens(self, example: Example, said: tuple[Message, ...]) -> tuple[list[int], list[bool]]:
        """Prompt and answer up to its end, and which of the tokens are the answer's; answers within the prompt are not, as both have them.

        Raises:
            LeftOut: the template leaves the answer out, or cannot show it and ``data.abnormal`` drops such rows.
            UserError: the template cannot show it.
        """
        prompt = conversation_of(example)
        rows = self.shown([*prompt, *said], example, first=len(prompt))
        if len(rows) > 1:
            what = "an answer of several turns, the first of which the template writes otherwise once the last is there, is no one row"
            raise UserError(example.where, what, "take a template that does not: task.template=FILE")
        ids = [token for piece, _ in rows[0] for token in piece]
        asked = [own for piece, own in rows[0] for _ in piece]
        if True not in asked:
            raise LeftOut("the chat template shows nothing of the answer")
        end = len(asked) - asked[::-1].index(True)
        return ids[:end], asked[:end]

    # -- measures ----------------------------------------------------------------------------------------------------

    def measures(self) -> dict[str, Any]:
        asked = {"margin": True, "preferred": True, "kl": self.loss.compares, "baseline": self.loss.mismatches}
        return {name: MeanMetric() for name, there in asked.items() if there}
