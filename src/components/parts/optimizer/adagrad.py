"""Adagrad: step along the gradient over the root of the sum of all its past squares.

Duchi, Hazan & Singer 2011, JMLR 12:2121
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import decay_groups, refuse_none


@register("optimizer", "adagrad")
class Adagrad(torch.optim.Adagrad):
    """``torch.optim.Adagrad`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
        lr_decay: the learning rate is divided by 1 + lr_decay * steps.
        weight_decay: factor of each decayed matrix that is added to its gradient.
        initial_accumulator_value: where the sum of squares begins.
        eps: added to the root.
        foreach: one call for all parameters; null lets torch choose by the device.
        maximize: climb instead of descend.
        differentiable: let autograd run through the step.
        fused: torch's fused kernel; null lets torch choose.
        decay_embedding: decay the embedding as well.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        lr: PositiveFloat = 0.01,
        lr_decay: NonNegativeFloat = 0.0,
        weight_decay: NonNegativeFloat = 0.0,
        initial_accumulator_value: NonNegativeFloat = 0.0,
        eps: PositiveFloat = 1e-10,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decay_embedding: bool = False,
    ) -> None:
        groups = refuse_none(decay_groups(weights, lr=lr, weight_decay=weight_decay, decay_embedding=decay_embedding))
        super().__init__(
            groups,
            lr=lr,
            lr_decay=lr_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            fused=fused,
        )
