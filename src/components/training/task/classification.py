"""Classification: which label an input has, a text or a row of numbers."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

from components.core.errors import UserError, nearest
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Batch
from components.corpus.example import Example
from components.corpus.example_files import Chosen
from components.corpus.examples import digest_of
from components.corpus.rows import Row
from components.corpus.steps import MicroBatch
from components.functional.cross_entropy import IGNORED
from components.training.task._examples import FromExamples, text_row, values_of
from components.training.task._taking import inside


class Predicted(TypedDict):
    """Of a batch: a label for each input, and the probability of each label, (B, labels)."""

    labels: list[str]
    probabilities: Tensor


@register("task", "classification")
class Classification(FromExamples):
    """Learn the label of each input. Measured: accuracy, F1 (the mean over labels), and how far confidence is from accuracy.

    Args:
        per_label: learn from at most so many inputs of each label, drawn by a hash; null takes all. What is held out stays as it is, so that runs
            with few labels and with many are measured on the same.
    """

    needs = {"data": ("labels",), "loss": ("classes",), "head": ("classes",)}
    labelled = True

    per_label: Positive | None = None
    validation_fraction = 0.1

    @cached_property
    def numbers(self) -> dict[str, int]:
        """{label: its number}."""
        return {label: i for i, label in enumerate(self.tokenizer.labels)}

    def blocks(self, corpus: Any, split: str, context: int, seed: int | None = None) -> Any:
        if split == "train" and self.per_label is not None:
            corpus = replace(corpus, train=few_of_each(corpus.train, self.per_label))
        return super().blocks(corpus, split, context, seed)

    def encode(self, example: Example, longest: int) -> Row:
        if example.answer not in self.numbers:
            raise UserError(
                example.where,
                f"the label {example.answer!r} is not among the labels that the model knows",
                nearest(str(example.answer), self.numbers, called="labels"),
            )
        number = self.numbers[example.answer]
        if isinstance(example.input, str):
            ids, cut = text_row(self.tokenizer, example.input, longest)
            return Row(ids, number, cut=cut)
        values = values_of(example)
        return Row([0] * len(values), number, values=values)

    def check(self, model: nn.Module, corpus: Any) -> None:
        scores, labels = getattr(model.head, "n_classes", None), len(corpus.labels)
        if scores is not None and scores != labels:
            raise UserError(
                "model.head.n_classes", f"{scores} scores for {labels} labels of the data", f"set model.head.n_classes={labels}"
            )

    def measures(self) -> dict[str, Any]:
        count = max(2, len(self.tokenizer.labels))
        return {
            "accuracy": MulticlassAccuracy(average="micro", num_classes=count, ignore_index=IGNORED),
            "f1": MulticlassF1Score(average="macro", num_classes=count, ignore_index=IGNORED),
            "calibration_error": MulticlassCalibrationError(n_bins=10, num_classes=count, ignore_index=IGNORED),
        }

    def observe(self, hidden: Tensor, head: Any, batch: Batch) -> None:
        probabilities = head(hidden).float().softmax(-1)
        for metric in self.meters.values():
            metric.update(probabilities, batch.targets)

    def predict_step(self, item: MicroBatch | Batch | Tensor, batch_idx: int = 0) -> Predicted:
        """The likeliest label of each input, and the probability of each label, (B, labels)."""
        del batch_idx
        probabilities = self.placed(inside(item)).float().softmax(-1)
        return {"labels": [self.tokenizer.labels[i] for i in probabilities.argmax(-1).tolist()], "probabilities": probabilities}


def few_of_each(examples: Sequence[Example], most: int) -> Chosen:
    """At most so many of each answer, those whose input has the smallest hash: with more asked for, these stay."""
    held: dict[Any, list[tuple[bytes, int]]] = {}  # of each answer the smallest so far, the largest of them first
    for i, example in enumerate(examples):
        own = held.setdefault(example.answer, [])
        heapq.heappush(own, (bytes(255 - b for b in digest_of(example)), -i))
        if len(own) > most:
            heapq.heappop(own)
    return Chosen(examples, np.array(sorted(-i for own in held.values() for _, i in own), dtype=np.int64))
