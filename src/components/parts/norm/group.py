"""Each group is centred and brought to unit variance.

Wu & He 2018, arXiv:1803.08494; over one position's channels as in RetNet (Sun et al. 2023, arXiv:2307.08621)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.functional.norms import affine
from components.functional.precision import at_least_fp32


@register("norm", "group")
class GroupNorm(nn.Module):
    """Group norm: the channels of each position are cut into groups, each normed by itself.

    Args:
        groups: how many.
        eps: added to each group's variance.
        bias: whether a learned shift of every channel follows.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and a scale of each head's own.
    Errors: ValueError if ``groups`` does not divide D.
    """

    axes = {"weight": ("d_model",), "bias": ("d_model",)}

    def __init__(
        self, dim: int, heads: int | None = None, *, groups: Positive = 4, eps: PositiveFloat = 1e-5, bias: bool = True
    ) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"groups={groups} does not divide the {dim} channels; choose among the divisors of {dim}")
        shape = (dim,) if heads is None else (heads, dim)
        self.groups, self.width, self.eps = groups, dim // groups, eps
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = at_least_fp32(x).unflatten(-1, (self.groups, self.width))
        y = F.layer_norm(y, (self.width,), None, None, self.eps).flatten(-2)
        return affine(y, self.weight, self.bias, x.dtype)
