"""A part of the channels is enough to estimate the root mean square of all.

Zhang & Sennrich 2019, arXiv:1910.07467, section 4.1 (pRMSNorm)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat, Probability
from components.functional.norms import affine
from components.functional.precision import at_least_fp32


@register("norm", "partial_rms")
class PartialRMSNorm(nn.Module):
    """Partial RMSNorm: the root mean square of the first channels divides them all.

    Args:
        fraction: share of the channels that is measured, rounded up to whole channels (the paper: 0.0625).
        eps: added to the mean square.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and a scale of each head's own.
    Errors: ValueError if fraction is 0.
    """

    axes = {"weight": ("d_model",)}

    def __init__(self, dim: int, heads: int | None = None, *, fraction: Probability = 0.25, eps: PositiveFloat = 1e-6) -> None:
        super().__init__()
        if not fraction:
            raise ValueError("fraction=0 measures no channel; give a share above 0, at most 1")
        self.measured, self.eps = math.ceil(dim * fraction), eps
        self.weight = nn.Parameter(torch.empty((dim,) if heads is None else (heads, dim)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = at_least_fp32(x)
        inverse = (y[..., : self.measured].square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return affine(y * inverse, self.weight, None, x.dtype)
