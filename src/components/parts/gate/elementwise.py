"""Qiu et al. 2025, arXiv:2505.06708 (G1, elementwise); Qwen3-Next keeps its map in the same matrix as the queries'"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo
from components.functional.linear import Linear


@register("gate", "elementwise")
class ElementwiseGate(nn.Module):
    """Elementwise gate: every channel that attention read is scaled by a sigmoid of attention's input.

    Args:
        bias: a bias in the map to the gates.

    Shapes: read (B, T, H, K) and x (B, T, D) -> (B, T, H, K).
    """

    axes = {"gates": ("d_model", "heads")}

    def __init__(self, d_model: int, n_heads: int, head_dim: int, *, bias: bool = False) -> None:
        super().__init__()
        self.splits = {"heads": n_heads}
        self.gates = Linear(d_model, n_heads * head_dim, bias=bias)

    def forward(self, read: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's argument
        # the number of heads is read from the width, since a tensor-parallel rank holds only some
        return read * torch.sigmoid(self.gates(x)).unflatten(-1, (-1, read.shape[-1]))
