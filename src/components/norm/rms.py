"""RMSNorm: divide each vector by its root mean square, then scale every channel.

Zhang & Sennrich 2019, arXiv:1910.07467
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.functional.norms import rms_norm
from components.registry import register
from components.signature import PositiveFloat


@register("norm", "rms")
class RMSNorm(nn.Module):
    """RMSNorm: divide each vector by its root mean square, then scale every channel.

    Args:
        eps: added to the mean square.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and a scale of each head's own.
    """

    axes = {"weight": ("d_model",)}

    def __init__(self, dim: int, heads: int | None = None, *, eps: PositiveFloat = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty((dim,) if heads is None else (heads, dim)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)
