"""RAdam: Adam whose first steps are plain momentum, until the variance of its denominator is known.

Liu et al. 2020, arXiv:1908.03265, algorithm 2
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Capturable, Coupled
from components.parts.optimizer._groups import checked_betas


@register("optimizer", "radam")
class RAdam(Capturable, Coupled, torch.optim.RAdam):
    """``torch.optim.RAdam`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        betas: decay of the running mean of the gradient and of its square.
        eps: added to the root.
        decoupled_weight_decay: take weight_decay times the learning rate away from the weight itself, as AdamW does.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    decoupled_weight_decay: bool = False

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(
            self.groups(weights),
            lr=self.lr,
            betas=checked_betas(self.betas),
            eps=self.eps,
            decoupled_weight_decay=self.decoupled_weight_decay,
            **self.torchs(),
        )
