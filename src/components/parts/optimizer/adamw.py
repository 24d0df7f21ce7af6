"""AdamW: step along the running mean of gradients over the root of their running mean square, with decoupled weight decay by role.

Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Decayed
from components.parts.optimizer._groups import checked_betas, fuses


@register("optimizer", "adamw")
class AdamW(Decayed, torch.optim.AdamW):
    """AdamW over all weights; scales, biases and special parameters are never decayed.

    Args:
        betas: decay of the running mean of the gradient and of its square.
        eps: added to the root.
        fused: use torch's fused kernel where the device has one.
    """

    weight_decay = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: PositiveFloat = 1e-8
    fused: bool = True

    def __init__(self, weights: list[Weight]) -> None:
        groups = self.groups(weights)
        fused = fuses(groups, asked=self.fused)
        super().__init__(groups, lr=self.lr, betas=checked_betas(self.betas), eps=self.eps, fused=fused)
