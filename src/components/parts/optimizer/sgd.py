"""SGD: step against the gradient, or against its running sum; weight decay is added to the gradient, by role.

Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning"
"""

from __future__ import annotations

import torch

from components.core.registry import register
from components.core.signature import Fraction, NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import decay_groups, refuse_none


@register("optimizer", "sgd")
class SGD(torch.optim.SGD):
    """Gradient descent over all weights; scales, biases and special parameters are never decayed.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
        momentum: decay of the running sum of gradients; 0 keeps none.
        nesterov: look ahead along the momentum, which must not be 0.
        weight_decay: factor of each decayed matrix that is added to its gradient.
        decay_embedding: decay the embedding as well.
    """

    def __init__(
        self,
        weights: list[Weight],
        *,
        lr: PositiveFloat = 0.1,
        momentum: Fraction = 0.9,
        nesterov: bool = False,
        weight_decay: NonNegativeFloat = 0.0,
        decay_embedding: bool = False,
    ) -> None:
        groups = refuse_none(decay_groups(weights, lr=lr, weight_decay=weight_decay, decay_embedding=decay_embedding))
        if nesterov and momentum == 0:
            raise ValueError("nesterov=True needs a momentum above 0")
        super().__init__(groups, lr=lr, momentum=momentum, nesterov=nesterov)
