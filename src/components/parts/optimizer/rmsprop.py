"""RMSprop: step along the gradient over the root of its running mean square.

Tieleman & Hinton 2012, lecture 6.5; centred: Graves 2013, arXiv:1308.0850
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import Fraction, NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Capturable, Coupled


@register("optimizer", "rmsprop")
class RMSprop(Capturable, Coupled, torch.optim.RMSprop):
    """``torch.optim.RMSprop`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        alpha: decay of the running mean square.
        eps: added to the root.
        momentum: decay of the running sum of steps; 0 keeps none.
        centered: take the square of the running mean away: divide by the standard deviation.
    """

    lr = 0.01
    alpha: Fraction = 0.99
    eps: PositiveFloat = 1e-8
    momentum: NonNegativeFloat = 0.0
    centered: bool = False

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(
            self.groups(weights),
            lr=self.lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            centered=self.centered,
            **self.torchs(),
        )
