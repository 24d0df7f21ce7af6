"""Zhu et al. 2025, arXiv:2503.10622, equation 2"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.functional.norms import affine
from components.functional.precision import at_least_fp32


@register("norm", "dynamic_tanh")
class DynamicTanh(nn.Module):
    """Dynamic tanh: no statistics at all, each entry is squashed by tanh of itself times a learned number.

    Args:
        alpha: first value of the factor inside tanh, one number for all channels.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and numbers of each head's own.
    """

    axes = {"weight": ("d_model",), "bias": ("d_model",), "alpha": ("one",)}

    def __init__(self, dim: int, heads: int | None = None, *, alpha: PositiveFloat = 0.5) -> None:
        super().__init__()
        shape, one = ((dim,), (1,)) if heads is None else ((heads, dim), (heads, 1))
        self.initial = alpha
        self.alpha = nn.Parameter(torch.empty(one))
        self.weight, self.bias = nn.Parameter(torch.empty(shape)), nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.alpha, self.initial)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return affine(torch.tanh(at_least_fp32(x) * self.alpha), self.weight, self.bias, x.dtype)
