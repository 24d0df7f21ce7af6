"""A causal model can still tell order from what each position has seen (NoPE).

Kazemnejad et al. 2023, arXiv:2305.19466
"""

from __future__ import annotations

from torch import nn

from components.core.registry import register


@register("position", "none")
class NoPosition(nn.Module):
    """No position encoding: neither added, nor rotated, nor a bias."""
