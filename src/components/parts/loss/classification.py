"""Cross entropy of the row's class.

Label smoothing: Szegedy et al. 2016, arXiv:1512.00567
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import Fraction
from components.core.sockets import Batch, Terms
from components.functional.cross_entropy import IGNORED, cross_entropy
from components.parts.loss._tokens import need_targets


@register("loss", "classification")
class Classification:
    """Classification: cross entropy of ``batch.targets`` (B,), the number of each row's class, -100 where it is unknown.

    Args:
        label_smoothing: share of each target that is spread over all classes.
        class_weights: a factor for the loss of each class; empty: 1. The mean stays that over rows.
    """

    needs = {"head": ("classes",)}
    provides = ("classes",)
    likelihood = False

    def __init__(self, *, label_smoothing: Fraction = 0.0, class_weights: tuple[float, ...] = ()) -> None:
        if any(w < 0 for w in class_weights):
            raise ValueError(f"class_weights={list(class_weights)}: none can be negative")
        self.label_smoothing, self.class_weights = label_smoothing, tuple(class_weights)

    def __call__(self, hidden: Tensor, head: Callable[[Tensor], Tensor], batch: Batch) -> Terms:
        targets = need_targets(batch, "classification", "the class of each row, (B,)")
        logits = head(hidden)
        if targets.shape != logits.shape[:-1]:
            raise ValueError(
                f"targets {tuple(targets.shape)} for logits {tuple(logits.shape)}: one class for each row is needed"
            )
        weights = torch.ones_like(targets, dtype=torch.float32) if batch.weights is None else batch.weights.float()
        asked = targets != IGNORED
        counted = weights
        if self.class_weights:
            if len(self.class_weights) != logits.shape[-1]:
                raise ValueError(f"{len(self.class_weights)} class_weights for {logits.shape[-1]} classes: give one for each")
            factors = torch.tensor(self.class_weights, device=targets.device)
            weights = weights * factors[torch.where(asked, targets, 0)]
        loss, _ = cross_entropy(logits, targets, weights, self.label_smoothing)
        return Terms({"loss": (loss, (asked * counted).sum())})
