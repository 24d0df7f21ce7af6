"""Adam: step along the running mean of gradients over the root of their running mean square; weight decay is added to the gradient.

Kingma & Ba 2015, arXiv:1412.6980, algorithm 1
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Capturable, Coupled
from components.parts.optimizer._groups import checked_betas


@register("optimizer", "adam")
class Adam(Capturable, Coupled, torch.optim.Adam):
    """``torch.optim.Adam`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        betas: decay of the running mean of the gradient and of its square.
        eps: added to the root.
        amsgrad: divide by the largest mean square so far.
        fused: torch's fused kernel; null lets torch choose.
        decoupled_weight_decay: take weight_decay times the learning rate away from the weight itself, as AdamW does.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    amsgrad: bool = False
    fused: bool | None = None
    decoupled_weight_decay: bool = False

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(
            self.groups(weights),
            lr=self.lr,
            betas=checked_betas(self.betas),
            eps=self.eps,
            amsgrad=self.amsgrad,
            fused=self.fused,
            decoupled_weight_decay=self.decoupled_weight_decay,
            **self.torchs(),
        )
