"""AdamW: step along the running mean of gradients over the root of their running mean square, with decoupled weight decay by role.

Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import can_fuse, checked_betas, decay_groups, refuse_none


@register("optimizer", "adamw")
class AdamW(torch.optim.AdamW):
    """AdamW over all weights; scales, biases and special parameters are never decayed.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
        betas: decay of the running mean of the gradient and of its square.
        eps: added to the root.
        weight_decay: share of each decayed matrix that is taken away per step, times the learning rate.
        decay_embedding: decay the embedding as well.
        fused: use torch's fused kernel where the device has one.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        lr: PositiveFloat = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: PositiveFloat = 1e-8,
        weight_decay: NonNegativeFloat = 0.1,
        decay_embedding: bool = False,
        fused: bool = True,
    ) -> None:
        groups = refuse_none(decay_groups(weights, lr=lr, weight_decay=weight_decay, decay_embedding=decay_embedding))
        super().__init__(groups, lr=lr, betas=checked_betas(betas), eps=eps, fused=fused and can_fuse(groups))
