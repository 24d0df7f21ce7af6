"""No value beyond a few standard deviations; optionally by fan-in, and smaller outputs by depth.

Groeneveld et al. 2024 (OLMo), arXiv:2402.00838, appendix; Team OLMo 2024 (OLMo 2), arXiv:2501.00656, section 3.2
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.weights import MATRICES, Weight
from components.parts.init._draw import drawn


@register("init", "trunc_normal")
class TruncNormal:
    """Truncated normal init: every matrix normal, redrawn beyond ``cutoff`` standard deviations.

    Args:
        std: standard deviation, or "fan_in" for 1 / sqrt(fan-in); with "fan_in" the embedding has 1 / sqrt(d_model).
        cutoff: largest value, in standard deviations. What is cut off makes the spread a little smaller than ``std`` (0.99 of it at 3).
        depth: what output projections are divided by: nothing (``none``), sqrt(2 n_layers) (``total``), or sqrt(2 (layer + 1)) (``layer``).
    """

    def __init__(
        self,
        n_layers: int,
        *,
        std: NonNegativeFloat | Literal["fan_in"] = 0.02,
        cutoff: PositiveFloat = 3.0,
        depth: Literal["none", "total", "layer"] = "none",
    ) -> None:
        self.n_layers, self.std, self.cutoff, self.depth = n_layers, std, cutoff, depth

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        std = weight.fan_in**-0.5 if isinstance(self.std, str) else self.std
        if weight.role == "out" and self.depth != "none":
            deep = self.n_layers if self.depth == "total" or weight.layer is None else weight.layer + 1
            std /= math.sqrt(2 * deep)
        return drawn(weight, generator, std, "truncated", self.cutoff)
