"""Variance 2 / (fan-in + fan-out), so that neither the signal nor its gradient grows from layer to layer.

Glorot & Bengio 2010, http://proceedings.mlr.press/v9/glorot10a.html, equation 12
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.weights import MATRICES, Weight
from components.parts.init._draw import drawn


@register("init", "xavier")
class Xavier:
    """Xavier init: std gain * sqrt(2 / (fan-in + fan-out)) for every matrix but the embedding.

    Args:
        gain: factor on the standard deviation.
        distribution: normal, or uniform with the same standard deviation.
        embedding_std: of the embedding, which does not map one layer to the next; a tied head is the embedding.
    """

    def __init__(
        self,
        *,
        gain: NonNegativeFloat = 1.0,
        distribution: Literal["normal", "uniform"] = "normal",
        embedding_std: NonNegativeFloat = 0.02,
    ) -> None:
        self.gain, self.distribution, self.embedding_std = gain, distribution, embedding_std

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        std = self.gain * (2 / (weight.fan_in + weight.fan_out)) ** 0.5
        return drawn(weight, generator, self.embedding_std if weight.role == "embedding" else std, self.distribution)
