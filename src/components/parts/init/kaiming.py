"""Variance gain^2 / fan-in, so that the signal keeps its size through layers that are bent by a ReLU.

He et al. 2015, arXiv:1502.01852, equation 10
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.weights import MATRICES, Weight
from components.parts.init._draw import drawn


@register("init", "kaiming")
class Kaiming:
    """Kaiming init: std gain / sqrt(fan) for every matrix but the embedding.

    Args:
        gain: sqrt(2) for ReLU; 1 for maps that nothing bends.
        fan: keep the size of the signal (``in``) or of its gradient (``out``).
        distribution: normal, or uniform with the same standard deviation.
        embedding_std: of the embedding, which does not map one layer to the next; a tied head is the embedding.
    """

    def __init__(
        self,
        *,
        gain: NonNegativeFloat = 1.4142135623730951,
        fan: Literal["in", "out"] = "in",
        distribution: Literal["normal", "uniform"] = "normal",
        embedding_std: NonNegativeFloat = 0.02,
    ) -> None:
        self.gain, self.fan, self.distribution, self.embedding_std = gain, fan, distribution, embedding_std

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        std = self.gain / (weight.fan_in if self.fan == "in" else weight.fan_out) ** 0.5
        return drawn(weight, generator, self.embedding_std if weight.role == "embedding" else std, self.distribution)
