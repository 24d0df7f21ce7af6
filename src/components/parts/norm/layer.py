"""Ba et al. 2016, arXiv:1607.06450. Without scale and shift: OLMo 2024, arXiv:2402.00838"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat


@register("norm", "layer")
class LayerNorm(nn.Module):
    """LayerNorm: subtract the mean of each vector, divide by its standard deviation, then scale and shift every channel.

    Args:
        eps: added to the variance.
        scale: learned, one factor per channel; or none.
        bias: whether a learned shift of every channel follows.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and a scale of each head's own.
    """

    axes = {"weight": ("d_model",), "bias": ("d_model",)}

    def __init__(
        self,
        dim: int,
        heads: int | None = None,
        *,
        eps: PositiveFloat = 1e-5,
        scale: Literal["learned", "none"] = "learned",
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (dim,) if heads is None else (heads, dim)
        self.eps, self.dim = eps, dim
        self.weight = nn.Parameter(torch.empty(shape)) if scale == "learned" else None
        self.bias = nn.Parameter(torch.empty(shape)) if bias else None
        self.per_head = heads is not None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if weight is not None and weight.dtype != x.dtype:
            weight = weight.to(x.dtype)
        if bias is not None and bias.dtype != x.dtype:
            bias = bias.to(x.dtype)
        if not self.per_head:
            return torch.layer_norm(x, (self.dim,), weight, bias, self.eps)
        y = F.layer_norm(x, (self.dim,), None, None, self.eps)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias
