"""Qiu et al. 2025, arXiv:2505.06708 (G1, headwise)"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo
from components.functional.linear import Linear


@register("gate", "headwise")
class HeadwiseGate(nn.Module):
    """Headwise gate: what each head read is scaled by one sigmoid of attention's input.

    Args:
        bias: a bias in the map to the gates.

    Shapes: read (B, T, H, K) and x (B, T, D) -> (B, T, H, K).
    """

    axes = {"gates": ("d_model", "heads")}

    def __init__(self, d_model: int, n_heads: int, *, bias: bool = False) -> None:
        super().__init__()
        self.splits = {"heads": n_heads}
        self.gates = Linear(d_model, n_heads, bias=bias)

    def forward(self, read: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's argument
        return read * torch.sigmoid(self.gates(x))[..., None]
