"""OpenAI 2025, gpt-oss model card, arXiv:2508.10925: (up + 1) * gate * sigmoid(1.702 * gate) with gate <= 7 and -7 <= up <= 7"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.functional.activations import clamped_glu, glu_width
from components.functional.bent_linear import bent_linear
from components.functional.linear import Linear
from components.functional.precision import cast_once


@register("ffn", "clamped_glu")
class ClampedGLU(nn.Module):
    """Clamped GLU: a SwiGLU whose two factors cannot grow without bound, and whose linear one is shifted by 1.

    Args:
        d_ff: width in between; null: 8/3 of d_model, rounded up to a multiple of ``multiple_of``.
        multiple_of: used where d_ff is null.
        limit: the gate is at most this, the linear factor within +- this.
        slope: of the sigmoid.
        bias: whether the projections have one.

    Shapes: (B, T, D) -> (B, T, D).
    """

    axes = {"gate": ("d_model", "d_ff"), "up": ("d_model", "d_ff"), "out": ("d_ff", "d_model")}

    def __init__(
        self,
        d_model: int,
        *,
        d_ff: Positive | None = None,
        multiple_of: Positive = 32,
        limit: PositiveFloat = 7.0,
        slope: PositiveFloat = 1.702,
        bias: bool = False,
    ) -> None:
        super().__init__()
        width = glu_width(d_model, multiple_of) if d_ff is None else d_ff
        self.splits = {"d_ff": width}
        self.gate = Linear(d_model, width, bias=bias)
        self.up = Linear(d_model, width, bias=bias)
        self.out = Linear(width, d_model, bias=bias)
        self.limit, self.slope = limit, slope

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        x = cast_once(x)
        return bent_linear(self.gated, (self.gate(x), self.up(x)), self.out)

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """(..., F), (..., F) -> (..., F)."""
        return clamped_glu(gate, up, self.limit, self.slope)
