"""Nguyen & Salazar 2019, arXiv:1910.05895, equation 5"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.functional.norms import affine
from components.functional.precision import at_least_fp32


@register("norm", "scale")
class ScaleNorm(nn.Module):
    """ScaleNorm: divide each vector by its length and multiply it by one learned number.

    Args:
        eps: the length is taken to be at least this.
        initial: first value of the number; null: sqrt(D), which keeps the size that RMSNorm gives.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and a number for each head.
    """

    axes = {"scale": ("one",)}

    def __init__(
        self, dim: int, heads: int | None = None, *, eps: PositiveFloat = 1e-5, initial: PositiveFloat | None = None
    ) -> None:
        super().__init__()
        self.eps, self.initial = eps, math.sqrt(dim) if initial is None else initial
        self.scale = nn.Parameter(torch.empty((1,) if heads is None else (heads, 1)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, self.initial)

    def forward(self, x: Tensor) -> Tensor:
        y = at_least_fp32(x)
        return affine(y / torch.linalg.vector_norm(y, dim=-1, keepdim=True).clamp(min=self.eps), self.scale, None, x.dtype)
