"""Sequence to sequence: a text for each text, as in translation."""

from __future__ import annotations

from typing import Any, cast

from components.core.registry import register
from components.core.sockets import Batch
from components.corpus.batches import ids_of
from components.corpus.example import Example
from components.corpus.rows import Row
from components.corpus.special_ids import source_ids, stop_ids, target_start
from components.generation.generating import generate
from components.training.task._answers import Answering


@register("task", "sequence_to_sequence")
class SequenceToSequence(Answering):
    """Learn to write the text that belongs to a text: the model reads one as its source and writes the other. Longer pairs are left out.

    Args:
        samples: answers that are shown and kept after each validation.
        sample_tokens: at most so many tokens in each answer.
    """

    needs = {"data": ("pairs",), "loss": ("tokens",), "model": ("source",)}
    gives_sources = True

    test_fraction = 0.05
    scored = 64
    sample_tokens = 64

    def encode(self, example: Example, longest: int) -> Row:  # noqa: ARG002  half a source has another answer
        target = self.tokenizer.encode(cast(str, example.answer))
        start, end = target_start(self.tokenizer), list(stop_ids(self.tokenizer)[:1])
        asked = [*target, *end]
        ids = [*start, *asked][:-1]
        return Row(ids, [-100] * (len(ids) - len(asked)) + asked, source=source_ids(self.tokenizer, str(example.input)))

    def asked_and_answer(self, example: Example) -> tuple[str, str]:
        return str(example.input), str(example.answer)

    def prompts_in(self, batch: Batch) -> tuple[list[list[int]], list[list[int]] | None]:
        assert batch.source is not None
        sources = ids_of(batch.source)
        return [list(target_start(self.tokenizer)) for _ in sources], sources

    def ask(self, examples: list[Any]) -> list[str]:
        options = {"max_new_tokens": self.sample_tokens, "seed": self.config["seed"]}
        return generate(self.placed, self.tokenizer, self.config, [e.input for e in examples], **options)
