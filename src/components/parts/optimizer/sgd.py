"""SGD: step against the gradient, or against its running sum; weight decay is added to the gradient, by role.

Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning"
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import Fraction
from components.core.weights import Weight
from components.parts.optimizer._decayed import Coupled


@register("optimizer", "sgd")
class SGD(Coupled, torch.optim.SGD):
    """Gradient descent over all weights; scales, biases and special parameters are never decayed.

    Args:
        momentum: decay of the running sum of gradients; 0 keeps none.
        nesterov: look ahead along the momentum, which must not be 0.
    """

    lr = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = False

    def __init__(self, weights: list[Weight]) -> None:
        groups = self.groups(weights)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True needs a momentum above 0")
        super().__init__(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)
