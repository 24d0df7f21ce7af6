"""Weight decay on the scale pulls towards the plain norm.

Ba et al. 2016, arXiv:1607.06450; as ``layernorm1p`` in Megatron-LM and NeMo (Nemotron-4, arXiv:2402.16819)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.functional.norms import affine
from components.functional.precision import at_least_fp32


@register("norm", "layer1p")
class LayerNorm1P(nn.Module):
    """LayerNorm with a zero-centred scale: every channel is multiplied by 1 + scale.

    Args:
        eps: added to the variance.
        bias: whether a learned shift of every channel follows.

    Shapes: (..., D) -> (..., D) in the input's dtype; with ``heads``, (..., H, D) and a scale of each head's own.
    """

    axes = {"scale": ("d_model",), "bias": ("d_model",)}

    def __init__(self, dim: int, heads: int | None = None, *, eps: PositiveFloat = 1e-5, bias: bool = True) -> None:
        super().__init__()
        shape = (dim,) if heads is None else (heads, dim)
        self.dim, self.eps = dim, eps
        self.scale = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.scale)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(at_least_fp32(x), (self.dim,), None, None, self.eps)
        return affine(y, 1.0 + at_least_fp32(self.scale), self.bias, x.dtype)
