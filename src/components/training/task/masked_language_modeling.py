"""Masked language modelling: tokens that were hidden are guessed from both sides."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor
from torchmetrics import MeanMetric

from components.core.registry import register
from components.core.signature import Fraction, Positive, Workers
from components.core.sockets import Batch
from components.functional.cross_entropy import IGNORED
from components.training.task.language_modeling import LanguageModeling


@register("task", "masked_language_modeling")
class MaskedLanguageModeling(LanguageModeling):
    """Guess hidden tokens of packed documents. Measured: ``masked_accuracy``, the share of hidden tokens that were the likeliest.

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
        activation_checkpointing: recompute each layer in the backward pass, for less memory.
        compile: compile each layer, once for all that are alike.
        num_workers: processes that read ahead; never changes the order.
    """

    needs = {"data": ("text",), "loss": ("hidden_tokens",)}

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
        activation_checkpointing: bool = False,
        compile: Literal["none", "layers"] = "none",
        num_workers: Workers = 0,
    ) -> None:
        self.begin(config, tokenizer, locals())

    def measures(self) -> dict[str, Any]:
        return {"masked_accuracy": MeanMetric()}

    def observe(self, hidden: Tensor, head: Any, batch: Batch) -> None:
        assert batch.targets is not None
        asked = batch.targets != IGNORED
        if asked.any():
            self.metrics["masked_accuracy"].update((head(hidden[asked][None])[0].argmax(-1) == batch.targets[asked]).float())
