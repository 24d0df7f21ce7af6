"""What the optimizers say once: the learning rate, and the decay of weights by their role."""

from __future__ import annotations

from typing import Any

from components.core.options import Options
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import Weight
from components.parts.optimizer._groups import decay_groups, refuse_none


class Rated(Options):
    """An optimizer with a learning rate.

    Args:
        weights: the weights to train, with their roles.
        lr: peak learning rate.
    """

    lr: PositiveFloat = 1e-3


class Decayed(Rated):
    """An optimizer that decays matrices: scales, biases and special parameters never are.

    Args:
        weight_decay: share of each decayed matrix that is taken away per step, times the learning rate.
        decay_embedding: decay the embedding as well.
    """

    weight_decay: NonNegativeFloat = 0.0
    decay_embedding: bool = False

    def groups(self, weights: list[Weight]) -> list[dict[str, Any]]:
        """Parameter groups by decay and rate. ValueError where there is nothing to train."""
        return refuse_none(
            decay_groups(weights, lr=self.lr, weight_decay=self.weight_decay, decay_embedding=self.decay_embedding)
        )


class OfTorch(Options):
    """How torch's own optimizers compute their step.

    Args:
        foreach: one call for all parameters; null lets torch choose by the device.
        maximize: climb instead of descend.
        differentiable: let autograd run through the step.
    """

    foreach: bool | None = None
    maximize: bool = False
    differentiable: bool = False

    def torchs(self) -> dict[str, Any]:
        """These options, as torch takes them."""
        return {"foreach": self.foreach, "maximize": self.maximize, "differentiable": self.differentiable}


class Capturable(OfTorch):
    """Of those that a CUDA graph can hold.

    Args:
        capturable: may be captured in a CUDA graph.
    """

    capturable: bool = False

    def torchs(self) -> dict[str, Any]:
        return {**super().torchs(), "capturable": self.capturable}


class Coupled(Decayed):
    """An optimizer whose decay goes through the gradient.

    Args:
        weight_decay: factor of each decayed matrix that is added to its gradient.
    """
