"""Language modelling: predict tokens of packed text; one Lightning module for every model, loss, optimizer and schedule."""

from __future__ import annotations

from typing import Any, Literal

from components.core.registry import register
from components.core.signature import Fraction, NonNegative, Positive, Workers
from components.corpus import prepare
from components.corpus.blocks import Blocks, EvaluationBlocks
from components.training.objectives import reads_whole
from components.training.task._training import Training


@register("task", "language_modeling")
class LanguageModeling(Training):
    """Predict tokens of packed documents: each next one, or what the loss hides.

    Args:
        config: the composed config: nodes for model, loss, optimizer, schedule, and the seed.
        tokenizer: gives the size of the vocabulary.
        batch_size: sequences per optimizer step, over all devices and micro-batches.
        batch_tokens: tokens per optimizer step instead; rounded down to whole sequences.
        documents: whether packed documents are apart or see one another.
        validation_fraction: share of the documents held out for validation.
        test_fraction: share of the documents held out for a final test.
        max_chars: longer documents are cut into pieces of so many characters.
        validation_every: optimizer steps between validations; there is always one at the end.
        validation_batches: at most so many batches (of batch_size sequences) per validation; null takes the whole split.
        samples: texts written after each validation, where the model can continue one.
        sample_tokens: at most so many new tokens in each.
        prompts: what samples begin with, in turn; without any they begin as documents do.
        judged_samples: texts at the end that the data's ``judge`` looks at, if it has one.
        activation_checkpointing: recompute each layer in the backward pass, for less memory.
        compile: compile each layer, once for all that are alike.
        num_workers: processes that read ahead; never changes the order.
    """

    needs = {"data": ("text",), "loss": ("tokens",)}

    def __init__(
        self,
        config: dict[str, Any],
        tokenizer: Any,
        *,
        batch_size: Positive = 16,
        batch_tokens: Positive | None = None,
        documents: Literal["apart", "together"] = "apart",
        validation_fraction: Fraction = 0.05,
        test_fraction: Fraction = 0.05,
        max_chars: Positive = 1000000,
        validation_every: Positive = 200,
        validation_batches: Positive | None = None,
        samples: NonNegative = 2,
        sample_tokens: Positive = 120,
        prompts: list[str] = (),  # type: ignore[assignment]
        judged_samples: NonNegative = 24,
        activation_checkpointing: bool = False,
        compile: Literal["none", "layers"] = "none",
        num_workers: Workers = 0,
    ) -> None:
        self.begin(config, tokenizer, locals())

    @classmethod
    def prepare(cls, source: Any, tokenizer: Any, options: dict[str, Any], cache: Any, progress: Any) -> Any:
        return prepare(
            source,
            tokenizer,
            cache=cache,
            validation=options["validation_fraction"],
            test=options["test_fraction"],
            max_chars=options["max_chars"],
            progress=progress,
        )

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        found = getattr(corpus, split)
        whole = reads_whole(self.loss)
        if seed is not None:
            return Blocks(found, context, seed, whole=whole)
        return EvaluationBlocks(found, context, whole=whole) if len(found.tokens) else None
