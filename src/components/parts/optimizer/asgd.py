"""ASGD: gradient descent with a falling step; the running average of its weights is kept in the state and not used.

Polyak & Juditsky 1992, SIAM J. Control Optim. 30:838
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.weights import Weight
from components.parts.optimizer._decayed import Capturable, Coupled
from components.parts.optimizer._groups import decay_groups, refuse_none


@register("optimizer", "asgd")
class ASGD(Capturable, Coupled, torch.optim.ASGD):
    """``torch.optim.ASGD`` over all weights; scales, biases and special parameters are never decayed.

    Args:
        lambd: share of each decayed matrix that is taken away per step, and how fast its step falls.
        alpha: power of the fall.
        t0: step at which averaging begins.
    """

    lr = 0.01
    lambd: NonNegativeFloat = 1e-4
    alpha: NonNegativeFloat = 0.75
    t0: NonNegativeFloat = 1e6

    def __init__(self, weights: list[Weight]) -> None:
        groups = refuse_none(decay_groups(weights, lr=self.lr, weight_decay=1.0, decay_embedding=self.decay_embedding))
        for g in groups:  # its own decay, lambd, goes by role as well
            g["lambd"], g["weight_decay"] = g["weight_decay"] * self.lambd, g["weight_decay"] * self.weight_decay
        super().__init__(groups, lr=self.lr, lambd=self.lambd, alpha=self.alpha, t0=self.t0, **self.torchs())
