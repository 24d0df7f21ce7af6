"""The standard deviation is sqrt(2 / (5 d)), and 2 / (L sqrt(d)) for what writes into the residual stream.

Nguyen & Salazar 2019, arXiv:1910.05895, section 2.2; Wang & Komatsuzaki 2021 (outputs); Black et al. 2022 (GPT-NeoX-20B), arXiv:2204.06745
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.core.registry import register
from components.core.weights import MATRICES, Weight, blank


@register("init", "small")
class Small:
    """Small init with Wang's outputs: every matrix normal with std sqrt(2 / (5 d_model)), output projections 2 / (n_layers sqrt(d_model))."""

    def __init__(self, d_model: int, n_layers: int) -> None:
        self.std, self.out_std = math.sqrt(2 / (5 * d_model)), 2 / (n_layers * math.sqrt(d_model))

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        std = self.out_std if weight.role == "out" else self.std
        return blank(weight, generator).normal_(0.0, std, generator=generator)
