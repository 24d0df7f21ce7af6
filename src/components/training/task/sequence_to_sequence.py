"""Sequence to sequence: a text for each text, as in translation."""

from __future__ import annotations

from typing import Any, Literal

from components.core.registry import register
from components.core.signature import Fraction, NonNegative, Positive, Workers
from components.corpus.example import Example
from components.corpus.rows import Row
from components.corpus.special_ids import source_ids, stop_ids, target_start
from components.generation.generating import generate
from components.training.task._answers import Answering


@register("task", "sequence_to_sequence")
class SequenceToSequence(Answering):
    """Learn to write the text that belongs to a text: the model reads one as its source and writes the other. Longer pairs are left out.

    Args:
        config: the composed config: nodes for model, loss, optimizer, schedule, decoding, and the seed.
        tokenizer: of both sides.
        batch_size: pairs per optimizer step, over all devices and micro-batches.
        validation_fraction: share of the sources held out for validation, where the data do not say.
        test_fraction: share of the sources held out for a final test, likewise.
        validation_every: optimizer steps between validations; there is always one at the end.
        validation_batches: at most so many batches per validation; null takes the whole split.
        scored: held-out sources that are answered in each validation, for exact match, BLEU and chrF.
        bleu_tokenize: how BLEU finds words, as in sacrebleu: ``zh`` or ``char`` for writing without spaces, which is one word to ``13a``.
        samples: answers that are shown and kept after each validation.
        sample_tokens: at most so many tokens in each answer.
        activation_checkpointing: recompute each layer in the backward pass, for less memory.
        compile: compile each layer, once for all that are alike.
        num_workers: processes that read ahead; never changes the order.
    """

    needs = {"data": ("pairs",), "loss": ("tokens",), "model": ("source",)}
    gives_sources = True

    def __init__(
        self,
        config: dict[str, Any],
        tokenizer: Any,
        *,
        batch_size: Positive = 16,
        validation_fraction: Fraction = 0.05,
        test_fraction: Fraction = 0.05,
        validation_every: Positive = 200,
        validation_batches: Positive | None = None,
        scored: NonNegative = 64,
        bleu_tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a",
        samples: NonNegative = 2,
        sample_tokens: Positive = 64,
        activation_checkpointing: bool = False,
        compile: Literal["none", "layers"] = "none",
        num_workers: Workers = 0,
    ) -> None:
        self.begin(config, tokenizer, locals())

    def encode(self, example: Example, longest: int) -> Row:  # noqa: ARG002  half a source has another answer
        target = self.tokenizer.encode(example.answer)
        start, end = target_start(self.tokenizer), list(stop_ids(self.tokenizer)[:1])
        asked = [*target, *end]
        ids = [*start, *asked][:-1]
        return Row(ids, [-100] * (len(ids) - len(asked)) + asked, source=source_ids(self.tokenizer, example.input))

    def asked_and_answer(self, example: Example) -> tuple[str, str]:
        return str(example.input), str(example.answer)

    def ask(self, examples: list[Any]) -> list[str]:
        options = {"max_new_tokens": self.sample_tokens, "seed": self.config["seed"]}
        return generate(self.model, self.tokenizer, self.config, [e.input for e in examples], **options)
