"""Zuo et al. 2025 (Falcon-H1), arXiv:2507.22448: constants that take the place of learning rates by part; muP: Yang et al. 2022, arXiv:2203.03466"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo
from components.functional.bends import Gated
from components.parts.ffn.glu import GLU


@register("ffn", "multiplied_glu")
class MultipliedGLU(GLU):
    """Multiplied GLU: a gated linear unit with a constant on the gate before it is bent, and one on what is written.

    out_multiplier * out(activation(gate_multiplier * gate(x)) * up(x))

    Args:
        gate_multiplier: of the gate.
        out_multiplier: of the output, its bias included.

    Shapes: (B, T, D) -> (B, T, D).
    """

    gate_multiplier: PositiveFloat = 1.0
    out_multiplier: PositiveFloat = 1.0

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.out_multiplier * super().forward(x)

    def gated(self) -> Gated:
        return Gated(lambda gate: self.bend(self.gate_multiplier * gate))
