"""Every vector ends on the unit sphere.

Loshchilov et al. 2024 (nGPT), arXiv:2410.01131, section 2
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.functional.precision import at_least_fp32


@register("norm", "l2")
class L2Norm(nn.Module):
    """L2 norm: divide each vector by its length, and nothing else.

    What Llama 4 calls L2 norm divides by the root mean square: that is ``rms`` with ``scale: none``.

    Args:
        eps: the length is taken to be at least this.

    Shapes: (..., D) -> (..., D) in the input's dtype.
    """

    axes = {}

    def __init__(self, *, eps: PositiveFloat = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = at_least_fp32(x)
        return (y / torch.linalg.vector_norm(y, dim=-1, keepdim=True).clamp(min=self.eps)).to(x.dtype)
