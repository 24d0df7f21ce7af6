"""Chen et al. 2025 (Derf), arXiv:2512.10938, equation 10"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.functional.norms import affine
from components.functional.precision import at_least_fp32


@register("norm", "dynamic_erf")
class DynamicErf(nn.Module):
    """Dynamic erf: no statistics at all, each entry is squashed by the error function of itself, stretched and shifted by learned numbers.

    Args:
        alpha: first value of the factor inside erf, one number for all channels.
        shift: first value of the number s that is added inside erf.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and numbers of each head's own.
    """

    axes = {"weight": ("d_model",), "bias": ("d_model",), "alpha": ("one",), "shift": ("one",)}

    def __init__(self, dim: int, heads: int | None = None, *, alpha: PositiveFloat = 0.5, shift: float = 0.0) -> None:
        super().__init__()
        shape, one = ((dim,), (1,)) if heads is None else ((heads, dim), (heads, 1))
        self.initial = (alpha, shift)
        self.alpha = nn.Parameter(torch.empty(one))
        self.shift = nn.Parameter(torch.empty(one))
        self.weight, self.bias = nn.Parameter(torch.empty(shape)), nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.alpha, self.initial[0])
        nn.init.constant_(self.shift, self.initial[1])
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return affine(torch.erf(at_least_fp32(x) * self.alpha + self.shift), self.weight, self.bias, x.dtype)
