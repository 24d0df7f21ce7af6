"""Tasks whose loss gives its figures itself, as further terms: each is measured over a validation too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from components.core.sockets import Batch, Terms


class MeasuresTerms:
    """Beside a task, each of whose ``measures`` with the name of a term is a mean of it, weighted as the loss is."""

    def judged_objective(self, hidden: Tensor, head: object, batch: Batch) -> Terms:
        task: Any = self
        terms: Terms = task.objective(hidden, head, batch)
        weight = terms.losses["loss"][1]
        if float(weight):
            for name in task.meters.keys() & terms.losses.keys():
                task.meters[name].update(terms.losses[name][0] / weight, weight)
        return terms


def fed(meters: Mapping[str, Metric], terms: Terms, asked: Collection[str]) -> Terms:
    """``terms``, with the meters fed that have the name of one which the model itself has written: ``asked`` are the loss's, which feeds its own."""
    for name in (meters.keys() & terms.losses.keys()) - set(asked):
        total, weight = terms.losses[name]
        if float(weight):
            meters[name].update(total / weight, weight)
    return terms
