"""Adamax: Adam with the running maximum of gradients in place of their root mean square.

Kingma & Ba 2015, arXiv:1412.6980, algorithm 2
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import checked_betas, decay_groups, refuse_none


@register("optimizer", "adamax")
class Adamax(torch.optim.Adamax):
    """``torch.optim.Adamax`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
        betas: decay of the running mean of the gradient and of its maximum.
        eps: added to the maximum.
        weight_decay: factor of each decayed matrix that is added to its gradient.
        foreach: one call for all parameters; null lets torch choose by the device.
        maximize: climb instead of descend.
        differentiable: let autograd run through the step.
        capturable: may be captured in a CUDA graph.
        decay_embedding: decay the embedding as well.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        lr: PositiveFloat = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: PositiveFloat = 1e-8,
        weight_decay: NonNegativeFloat = 0.0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        decay_embedding: bool = False,
    ) -> None:
        groups = refuse_none(decay_groups(weights, lr=lr, weight_decay=weight_decay, decay_embedding=decay_embedding))
        super().__init__(
            groups,
            lr=lr,
            betas=checked_betas(betas),
            eps=eps,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            capturable=capturable,
        )
