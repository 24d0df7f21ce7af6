"""Classification: which label an input has, a text or a row of numbers."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

from components.core.errors import UserError, nearest
from components.core.registry import register
from components.core.signature import Fraction, Positive, Workers
from components.core.sockets import Batch
from components.corpus.example import Example
from components.corpus.example_files import Chosen
from components.corpus.examples import digest_of
from components.corpus.rows import Row
from components.functional.cross_entropy import IGNORED
from components.training.task._examples import FromExamples, text_row


@register("task", "classification")
class Classification(FromExamples):
    """Learn the label of each input. Measured: accuracy, F1 (the mean over labels), and how far confidence is from accuracy.

    Args:
        config: the composed config: nodes for model, loss, optimizer, schedule, and the seed.
        tokenizer: gives the size of the vocabulary, and the labels by number.
        per_label: learn from at most so many inputs of each label, drawn by a hash; null takes all. What is held out stays as it is, so that runs
            with few labels and with many are measured on the same.
        batch_size: inputs per optimizer step, over all devices and micro-batches.
        validation_fraction: share of the inputs held out for validation, where the data do not say.
        test_fraction: share of the inputs held out for a final test, likewise.
        validation_every: optimizer steps between validations; there is always one at the end.
        validation_batches: at most so many batches per validation; null takes the whole split.
        activation_checkpointing: recompute each layer in the backward pass, for less memory.
        compile: compile each layer, once for all that are alike.
        num_workers: processes that read ahead; never changes the order.
    """

    needs = {"data": ("labels",), "loss": ("classes",), "head": ("classes",)}
    labelled = True

    def __init__(
        self,
        config: dict[str, Any],
        tokenizer: Any,
        *,
        per_label: Positive | None = None,
        batch_size: Positive = 16,
        validation_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.0,
        validation_every: Positive = 200,
        validation_batches: Positive | None = None,
        activation_checkpointing: bool = False,
        compile: Literal["none", "layers"] = "none",
        num_workers: Workers = 0,
    ) -> None:
        self.numbers = {}
        self.begin(config, tokenizer, locals())
        self.numbers = {label: i for i, label in enumerate(tokenizer.labels)}

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        if split == "train" and self.per_label is not None:
            corpus = replace(corpus, train=few_of_each(corpus.train, self.per_label))
        return super().blocks(corpus, split, context, seed)

    def encode(self, example: Example, longest: int) -> Row:
        if example.answer not in self.numbers:
            raise UserError(
                example.where,
                f"the label {example.answer!r} is none that the model knows",
                nearest(str(example.answer), self.numbers, called="labels"),
            )
        number = self.numbers[example.answer]
        if isinstance(example.input, str):
            ids, cut = text_row(self.tokenizer, example.input, longest)
            return Row(ids, number, cut=cut)
        return Row([0] * len(example.input), number, values=example.input)

    def check(self, model: nn.Module, corpus: Any) -> None:
        scores, labels = getattr(model.head, "n_classes", None), len(corpus.labels)
        if scores is not None and scores != labels:
            raise UserError(
                "model.head.n_classes", f"{scores} scores for {labels} labels of the data", f"set model.head.n_classes={labels}"
            )

    def measures(self) -> dict[str, Any]:
        each = {"num_classes": max(2, len(self.tokenizer.labels)), "ignore_index": IGNORED}
        return {
            "accuracy": MulticlassAccuracy(average="micro", **each),
            "f1": MulticlassF1Score(average="macro", **each),
            "calibration_error": MulticlassCalibrationError(n_bins=10, **each),
        }

    def observe(self, hidden: Tensor, head: Any, batch: Batch) -> None:
        probabilities = head(hidden).float().softmax(-1)
        for metric in self.metrics.values():
            metric.update(probabilities, batch.targets)


def few_of_each(examples: Sequence[Example], most: int) -> Chosen:
    """At most so many of each answer, those whose input has the smallest hash: with more asked for, these stay."""
    held: dict[Any, list[tuple[bytes, int]]] = {}  # of each answer the smallest so far, the largest of them first
    for i, example in enumerate(examples):
        own = held.setdefault(example.answer, [])
        heapq.heappush(own, (bytes(255 - b for b in digest_of(example)), -i))
        if len(own) > most:
            heapq.heappop(own)
    return Chosen(examples, np.array(sorted(-i for own in held.values() for _, i in own), dtype=np.int64))
