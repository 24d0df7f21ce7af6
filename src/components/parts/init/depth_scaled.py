"""As normal, but what writes into the residual stream is smaller by sqrt(2 x layers), so that its sum keeps its size.

Radford et al. 2019 (GPT-2), section 2.3
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.weights import MATRICES, Weight, blank


@register("init", "depth_scaled")
class DepthScaled:
    """Depth-scaled init: as normal, with the output projections divided by sqrt(2 * n_layers).

    Args:
        std: standard deviation of all other matrices.
    """

    def __init__(self, n_layers: int, *, std: NonNegativeFloat = 0.02) -> None:
        self.std, self.out_std = std, std / math.sqrt(2 * n_layers)

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        std = self.out_std if weight.role == "out" else self.std
        return blank(weight, generator).normal_(0.0, std, generator=generator)
