"""Masked language modelling: tokens that were hidden are guessed from both sides."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchmetrics.aggregation import MeanMetric

from components.core.abilities import MeasuresTerms
from components.core.registry import find, register
from components.core.sockets import Batch
from components.functional.cross_entropy import IGNORED
from components.training.task._documents import Documents


@register("task", "masked_language_modeling")
class MaskedLanguageModeling(Documents):
    """Guess hidden tokens of packed documents. Measured: ``masked_accuracy``, the share of hidden tokens that were the likeliest.

    What the model says that it measures itself comes besides: of model/electra ``replaced``, the cross entropy of its discriminator.
    """

    needs = {"data": ("text",), "loss": ("hidden_tokens",)}

    def measures(self) -> dict[str, Any]:
        model = find("model", self.config["model"]["name"])
        own = model.measures_terms if isinstance(model, MeasuresTerms) else ()
        return {name: MeanMetric() for name in ("masked_accuracy", *own)}

    def observe(self, hidden: Tensor, head: Any, batch: Batch) -> None:
        assert batch.targets is not None
        asked = batch.targets != IGNORED
        if asked.any():
            self.meters["masked_accuracy"].update((head(hidden[asked][None])[0].argmax(-1) == batch.targets[asked]).float())
