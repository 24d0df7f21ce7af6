"""Zhang & Sennrich 2019, arXiv:1910.07467. Unit offset: Gemma 2024, arXiv:2403.08295; without a scale it is what Llama 4 calls L2 norm"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.functional.norms import rms_norm
from components.functional.precision import at_least_fp32


@register("norm", "rms")
class RMSNorm(nn.Module):
    """RMSNorm: divide each vector by its root mean square, then scale every channel.

    Args:
        eps: added to the mean square.
        scale: learned, one factor per channel; or none.
        unit_offset: the factor is 1 + weight, so that weight decay pulls it to 1, and weights start at 0.
        bias: whether a learned shift of every channel follows.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and a scale of each head's own.
    """

    axes = {"weight": ("d_model",), "bias": ("d_model",)}

    def __init__(
        self,
        dim: int,
        heads: int | None = None,
        *,
        eps: PositiveFloat = 1e-6,
        scale: Literal["learned", "none"] = "learned",
        unit_offset: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if unit_offset and scale == "none":
            raise ValueError("unit_offset=true with scale=none: there is no weight to offset; choose scale=learned")
        shape = (dim,) if heads is None else (heads, dim)
        self.eps, self.unit_offset = eps, unit_offset
        self.weight = nn.Parameter(torch.empty(shape)) if scale == "learned" else None
        self.bias = nn.Parameter(torch.empty(shape)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            nn.init.constant_(self.weight, 0.0 if self.unit_offset else 1.0)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if self.unit_offset:
            weight = 1.0 + at_least_fp32(weight)  # type: ignore[arg-type]
        y = rms_norm(x, weight, self.eps)
        return y if self.bias is None else y + self.bias.to(y.dtype)
