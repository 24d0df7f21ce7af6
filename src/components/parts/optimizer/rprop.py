"""Rprop: step along the sign of the gradient, each weight with a step size of its own that grows while the sign stays; for whole batches.

Riedmiller & Braun 1993, IEEE ICNN, p. 586
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.weights import Weight
from components.parts.optimizer._decayed import Capturable, Rated
from components.parts.optimizer._groups import decay_groups, refuse_none


@register("optimizer", "rprop")
class Rprop(Capturable, Rated, torch.optim.Rprop):
    """``torch.optim.Rprop`` over all weights; it has no weight decay.

    Args:
        lr: first step size; later ones depend on the signs alone, so that no schedule reaches them.
        etas: factors on the step size after a change of sign, and without one.
        step_sizes: smallest and largest step size.
    """

    lr = 0.01
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def __init__(self, weights: list[Weight]) -> None:
        groups = refuse_none(decay_groups(weights, lr=self.lr, weight_decay=0.0, decay_embedding=False))
        super().__init__(groups, lr=self.lr, etas=self.etas, step_sizes=self.step_sizes, **self.torchs())
