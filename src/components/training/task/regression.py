"""Regression: numbers that belong to an input, a text or a row of numbers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from components.core.errors import UserError
from components.core.registry import register
from components.core.sockets import Batch
from components.corpus.example import Example
from components.corpus.rows import Row
from components.corpus.steps import MicroBatch
from components.training.task._examples import FromExamples, text_row, values_of
from components.training.task._taking import inside


@register("task", "regression")
class Regression(FromExamples):
    """Learn the numbers that belong to each input. Measured: mean absolute and root mean squared error."""

    needs = {"data": ("amounts",), "loss": ("amounts",), "head": ("amounts",)}

    validation_fraction = 0.1

    def encode(self, example: Example, longest: int) -> Row:
        answer = tuple(float(v) for v in example.answer)  # type: ignore[union-attr]
        if isinstance(example.input, str):
            ids, cut = text_row(self.tokenizer, example.input, longest)
            return Row(ids, answer, cut=cut)
        values = values_of(example)
        return Row([0] * len(values), answer, values=values)

    def check(self, model: nn.Module, corpus: Any) -> None:
        given, asked = getattr(model.head, "n_outputs", None), len(corpus.train[0].answer)
        if given is not None and given != asked:
            raise UserError(
                "model.head.n_outputs", f"{given} numbers for {asked} of the data", f"set model.head.n_outputs={asked}"
            )

    def measures(self) -> dict[str, Any]:
        return {"mean_absolute_error": MeanAbsoluteError(), "root_mean_squared_error": MeanSquaredError(squared=False)}

    def predict_step(self, item: MicroBatch | Batch | Tensor, batch_idx: int = 0) -> Tensor:
        """The numbers that the model gives for each input, (B, numbers)."""
        del batch_idx
        return self.placed(inside(item)).float()

    def observe(self, hidden: Tensor, head: Any, batch: Batch) -> None:
        assert batch.targets is not None
        asked = ~batch.targets.isnan().any(-1)
        if asked.any():
            said = head(hidden).float()[asked]
            for metric in self.meters.values():
                metric.update(said, batch.targets[asked])
