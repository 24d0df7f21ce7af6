"""Radford et al. 2018 (GPT)"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.weights import MATRICES, Weight, blank


@register("init", "normal")
class Normal:
    """Normal init: every matrix from one normal distribution; biases 0, scales as their part says.

    Args:
        std: standard deviation.
    """

    def __init__(self, *, std: NonNegativeFloat = 0.02) -> None:
        self.std = std

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        return blank(weight, generator).normal_(0.0, self.std, generator=generator)
