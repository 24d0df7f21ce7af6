"""NAdam: Adam that looks ahead along its momentum, as Nesterov does.

Dozat 2016, ICLR workshop, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Capturable, Coupled
from components.parts.optimizer._groups import checked_betas


@register("optimizer", "nadam")
class NAdam(Capturable, Coupled, torch.optim.NAdam):
    """``torch.optim.NAdam`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        betas: decay of the running mean of the gradient and of its square.
        eps: added to the root.
        momentum_decay: how fast the momentum reaches its full size.
        decoupled_weight_decay: take weight_decay times the learning rate away from the weight itself, as AdamW does.
    """

    lr = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    momentum_decay: NonNegativeFloat = 4e-3
    decoupled_weight_decay: bool = False

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(
            self.groups(weights),
            lr=self.lr,
            betas=checked_betas(self.betas),
            eps=self.eps,
            momentum_decay=self.momentum_decay,
            decoupled_weight_decay=self.decoupled_weight_decay,
            **self.torchs(),
        )
