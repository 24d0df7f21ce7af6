"""Adamax: Adam with the running maximum of gradients in place of their root mean square.

Kingma & Ba 2015, arXiv:1412.6980, algorithm 2
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Capturable, Coupled
from components.parts.optimizer._groups import checked_betas


@register("optimizer", "adamax")
class Adamax(Capturable, Coupled, torch.optim.Adamax):
    """``torch.optim.Adamax`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        betas: decay of the running mean of the gradient and of its maximum.
        eps: added to the maximum.
    """

    lr = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(
            self.groups(weights),
            lr=self.lr,
            betas=checked_betas(self.betas),
            eps=self.eps,
            **self.torchs(),
        )
