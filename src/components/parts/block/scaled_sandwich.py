"""Gemma 4 2026 (norms around its branches as in Gemma 2, arXiv:2408.00118)"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import Maker, SequenceInfo
from components.parts.block.sandwich import Sandwich


@register("block", "scaled_sandwich")
class ScaledSandwich(Sandwich):
    """Scaled sandwich block: a sandwich block with one more ffn, whose stream is multiplied by a number at the end.

    The number is no weight that learns: it is kept with the weights, since each layer of a checkpoint may have its own.

    Args:
        last_ffn: a branch after the others; none: there is no such branch.
        last_ffn_norm: before it.
        scale: the number.
    """

    provides = ("sequential",)

    order = ("attention", "cross", "ffn", "last_ffn")

    last_ffn: Maker["ffn"] = "none"
    last_ffn_norm: Maker["norm"] = "none"
    scale: PositiveFloat = 1.0

    factor: Tensor

    def join(self, d_model: int, norm: Maker["norm"]) -> None:  # noqa: ARG002  the hook's arguments
        self.register_buffer("factor", torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.factor, self.scale)

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        s = super().forward(s, info)
        return s * self.factor.to(s.dtype)
