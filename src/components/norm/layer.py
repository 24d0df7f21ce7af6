"""LayerNorm: subtract the mean of each vector, divide by its standard deviation, then scale and shift every channel.

Ba et al. 2016, arXiv:1607.06450
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.registry import register
from components.signature import PositiveFloat


@register("norm", "layer")
class LayerNorm(nn.Module):
    """LayerNorm: subtract the mean of each vector, divide by its standard deviation, then scale and shift every channel.

    Args:
        eps: added to the variance.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and a scale of each head's own.
    """

    axes = {"weight": ("d_model",), "bias": ("d_model",)}

    def __init__(self, dim: int, heads: int | None = None, *, eps: PositiveFloat = 1e-5) -> None:
        super().__init__()
        shape = (dim,) if heads is None else (heads, dim)
        self.eps, self.dim = eps, dim
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if weight.dtype != x.dtype:
            weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        if weight.dim() == 1:
            return torch.layer_norm(x, (self.dim,), weight, bias, self.eps)
        return F.layer_norm(x, (self.dim,), None, None, self.eps) * weight + bias
