"""Adagrad: step along the gradient over the root of the sum of all its past squares.

Duchi, Hazan & Singer 2011, JMLR 12:2121
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Coupled, OfTorch


@register("optimizer", "adagrad")
class Adagrad(OfTorch, Coupled, torch.optim.Adagrad):
    """``torch.optim.Adagrad`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        lr_decay: the learning rate is divided by 1 + lr_decay * steps.
        initial_accumulator_value: where the sum of squares begins.
        eps: added to the root.
        fused: torch's fused kernel; null lets torch choose.
    """

    lr = 0.01
    lr_decay: NonNegativeFloat = 0.0
    initial_accumulator_value: NonNegativeFloat = 0.0
    eps: PositiveFloat = 1e-10
    fused: bool | None = None

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(
            self.groups(weights),
            lr=self.lr,
            lr_decay=self.lr_decay,
            initial_accumulator_value=self.initial_accumulator_value,
            eps=self.eps,
            fused=self.fused,
            **self.torchs(),
        )
