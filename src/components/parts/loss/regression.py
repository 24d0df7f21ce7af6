"""The distance between what the head says and given numbers.

Huber 1964, doi:10.1214/aoms/1177703732
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._tokens import need_targets


@register("loss", "regression")
class Regression:
    """Regression: the mean distance to ``batch.targets``, numbers in the head's shape or without its last axis of 1; NaN: unknown.

    Args:
        distance: l1: |d|; mse: d squared; huber: half of d squared up to ``delta``, then delta * (|d| - delta / 2).
        delta: where huber turns from square to straight.
    """

    needs = {"head": ("amounts",)}
    provides = ("amounts",)
    likelihood = False

    def __init__(self, *, distance: Literal["l1", "mse", "huber"] = "mse", delta: PositiveFloat = 1.0) -> None:
        self.distance, self.delta = distance, delta

    def __call__(self, hidden: Tensor, head: Callable[[Tensor], Tensor], batch: Batch) -> Terms:
        targets = need_targets(batch, "regression", "numbers, NaN where there is none").float()
        said = head(hidden).float()
        if said.shape == (*targets.shape, 1):
            said = said[..., 0]
        if said.shape != targets.shape:
            raise ValueError(f"targets {tuple(targets.shape)} for {tuple(said.shape)} numbers of the head: make them one shape")
        asked = ~targets.isnan()
        weights = asked.float() if batch.weights is None else asked * batch.weights.float()
        aim = torch.where(asked, targets, said.detach())
        if self.distance == "l1":
            each = F.l1_loss(said, aim, reduction="none")
        elif self.distance == "mse":
            each = F.mse_loss(said, aim, reduction="none")
        else:
            each = F.huber_loss(said, aim, reduction="none", delta=self.delta)
        return Terms({"loss": ((each * weights).sum(), weights.sum())})
