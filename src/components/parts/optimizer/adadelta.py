"""Adadelta: step along the gradient, scaled by the ratio of two running root mean squares: of past steps and of gradients.

Zeiler 2012, arXiv:1212.5701, algorithm 1
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import Fraction, NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import decay_groups, refuse_none


@register("optimizer", "adadelta")
class Adadelta(torch.optim.Adadelta):
    """``torch.optim.Adadelta`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
        rho: decay of both running mean squares.
        eps: added to both mean squares.
        weight_decay: factor of each decayed matrix that is added to its gradient.
        foreach: one call for all parameters; null lets torch choose by the device.
        capturable: may be captured in a CUDA graph.
        maximize: climb instead of descend.
        differentiable: let autograd run through the step.
        decay_embedding: decay the embedding as well.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        lr: PositiveFloat = 1.0,
        rho: Fraction = 0.9,
        eps: PositiveFloat = 1e-6,
        weight_decay: NonNegativeFloat = 0.0,
        foreach: bool | None = None,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        decay_embedding: bool = False,
    ) -> None:
        groups = refuse_none(decay_groups(weights, lr=lr, weight_decay=weight_decay, decay_embedding=decay_embedding))
        super().__init__(
            groups,
            lr=lr,
            rho=rho,
            eps=eps,
            foreach=foreach,
            capturable=capturable,
            maximize=maximize,
            differentiable=differentiable,
        )
