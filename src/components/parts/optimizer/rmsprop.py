"""RMSprop: step along the gradient over the root of its running mean square.

Tieleman & Hinton 2012, lecture 6.5; centred: Graves 2013, arXiv:1308.0850
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import Fraction, NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import decay_groups, refuse_none


@register("optimizer", "rmsprop")
class RMSprop(torch.optim.RMSprop):
    """``torch.optim.RMSprop`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
        alpha: decay of the running mean square.
        eps: added to the root.
        weight_decay: factor of each decayed matrix that is added to its gradient.
        momentum: decay of the running sum of steps; 0 keeps none.
        centered: take the square of the running mean away: divide by the standard deviation.
        capturable: may be captured in a CUDA graph.
        foreach: one call for all parameters; null lets torch choose by the device.
        maximize: climb instead of descend.
        differentiable: let autograd run through the step.
        decay_embedding: decay the embedding as well.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        lr: PositiveFloat = 0.01,
        alpha: Fraction = 0.99,
        eps: PositiveFloat = 1e-8,
        weight_decay: NonNegativeFloat = 0.0,
        momentum: NonNegativeFloat = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        decay_embedding: bool = False,
    ) -> None:
        groups = refuse_none(decay_groups(weights, lr=lr, weight_decay=weight_decay, decay_embedding=decay_embedding))
        super().__init__(
            groups,
            lr=lr,
            alpha=alpha,
            eps=eps,
            momentum=momentum,
            centered=centered,
            capturable=capturable,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
        )
