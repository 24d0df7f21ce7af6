"""Adam: step along the running mean of gradients over the root of their running mean square; weight decay is added to the gradient.

Kingma & Ba 2015, arXiv:1412.6980, algorithm 1
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import checked_betas, decay_groups, refuse_none


@register("optimizer", "adam")
class Adam(torch.optim.Adam):
    """``torch.optim.Adam`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
        betas: decay of the running mean of the gradient and of its square.
        eps: added to the root.
        weight_decay: factor of each decayed matrix that is added to its gradient.
        amsgrad: divide by the largest mean square so far.
        foreach: one call for all parameters; null lets torch choose by the device.
        maximize: climb instead of descend.
        capturable: may be captured in a CUDA graph.
        differentiable: let autograd run through the step.
        fused: torch's fused kernel; null lets torch choose.
        decoupled_weight_decay: take weight_decay times the learning rate away from the weight itself, as AdamW does.
        decay_embedding: decay the embedding as well.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        lr: PositiveFloat = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: PositiveFloat = 1e-8,
        weight_decay: NonNegativeFloat = 0.0,
        amsgrad: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        decay_embedding: bool = False,
    ) -> None:
        groups = refuse_none(decay_groups(weights, lr=lr, weight_decay=weight_decay, decay_embedding=decay_embedding))
        super().__init__(
            groups,
            lr=lr,
            betas=checked_betas(betas),
            eps=eps,
            amsgrad=amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
        )
