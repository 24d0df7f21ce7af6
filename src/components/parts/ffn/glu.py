"""SwiGLU with silu, GeGLU with gelu.

Shazeer 2020, arXiv:2002.05202
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.options import Options
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo
from components.functional.activations import ACTIVATIONS, Activation, glu_width
from components.functional.bends import Gated
from components.functional.bent_linear import bent_linear
from components.functional.decode_products import by_token, by_token_together, together
from components.functional.linear import Linear
from components.functional.precision import cast_once
from components.functional.token_steps import TokenStep


@register("ffn", "glu")
class GLU(Options, nn.Module):
    """Gated linear unit: one projection is bent and scales the other.

    Args:
        d_ff: width in between; null: 8/3 of d_model, rounded up to a multiple of ``multiple_of``, which keeps the parameters of an MLP of four times d_model.
        multiple_of: used where d_ff is null.
        activation: of the gate; silu is SwiGLU, gelu GeGLU, relu ReGLU, identity bilinear.
        bias: whether the projections have one.

    Shapes: (B, T, D) -> (B, T, D).
    """

    axes = {"gate": ("d_model", "d_ff"), "up": ("d_model", "d_ff"), "out": ("d_ff", "d_model")}

    d_ff: Positive | None = None
    multiple_of: Positive = 32
    activation: Activation = "silu"
    bias: bool = False

    def __init__(self, d_model: int) -> None:
        super().__init__()
        width = glu_width(d_model, self.multiple_of) if self.d_ff is None else self.d_ff
        self.splits = {"d_ff": width}
        self.gate = Linear(d_model, width, bias=self.bias)
        self.up = Linear(d_model, width, bias=self.bias)
        self.out = Linear(width, d_model, bias=self.bias)
        self.bend = ACTIVATIONS[self.activation]

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        x = cast_once(x)
        gate, up = together(x, (self.gate, self.up))
        return bent_linear(self.gated(), (gate, up), self.out)

    def token_step(self) -> TokenStep:
        both, gated, out = by_token_together((self.gate, self.up)), self.gated(), by_token(self.out)
        return lambda x, _info: out(gated(*both(cast_once(x))))

    def gated(self) -> Gated:
        """What is done to the gate before it scales the other side."""
        return Gated(self.bend)
