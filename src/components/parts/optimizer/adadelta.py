"""Adadelta: step along the gradient, scaled by the ratio of two running root mean squares: of past steps and of gradients.

Zeiler 2012, arXiv:1212.5701, algorithm 1
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import Fraction, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Capturable, Coupled


@register("optimizer", "adadelta")
class Adadelta(Capturable, Coupled, torch.optim.Adadelta):
    """``torch.optim.Adadelta`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        rho: decay of both running mean squares.
        eps: added to both mean squares.
    """

    lr = 1.0
    rho: Fraction = 0.9
    eps: PositiveFloat = 1e-6

    def __init__(self, weights: list[Weight]) -> None:
        super().__init__(
            self.groups(weights),
            lr=self.lr,
            rho=self.rho,
            eps=self.eps,
            **self.torchs(),
        )
