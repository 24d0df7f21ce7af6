"""ASGD: gradient descent with a falling step; the running average of its weights is kept in the state and not used.

Polyak & Juditsky 1992, SIAM J. Control Optim. 30:838
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import decay_groups, refuse_none


@register("optimizer", "asgd")
class ASGD(torch.optim.ASGD):
    """``torch.optim.ASGD`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
        lambd: share of each decayed matrix that is taken away per step, and how fast its step falls.
        alpha: power of the fall.
        t0: step at which averaging begins.
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
        lr: PositiveFloat = 0.01,
        lambd: NonNegativeFloat = 1e-4,
        alpha: NonNegativeFloat = 0.75,
        t0: NonNegativeFloat = 1e6,
        weight_decay: NonNegativeFloat = 0.0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        decay_embedding: bool = False,
    ) -> None:
        groups = refuse_none(decay_groups(weights, lr=lr, weight_decay=1.0, decay_embedding=decay_embedding))
        for g in groups:  # its own decay, lambd, goes by role as well
            g["lambd"], g["weight_decay"] = g["weight_decay"] * lambd, g["weight_decay"] * weight_decay
        super().__init__(
            groups,
            lr=lr,
            lambd=lambd,
            alpha=alpha,
            t0=t0,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            capturable=capturable,
        )
