"""For models without norms, as in Bachlechner et al. 2020 (ReZero), arXiv:2003.04887"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register


@register("norm", "none")
class NoNorm(nn.Module):
    """No norm: the identity."""

    identity = True  # a parent need not call it

    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., D)
        return x
