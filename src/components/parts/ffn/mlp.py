"""Each position is mapped by itself.

Vaswani et al. 2017, arXiv:1706.03762, section 3.3
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.functional.activations import ACTIVATIONS, Activation
from components.functional.bent_linear import bent_linear
from components.functional.decode_products import by_token
from components.functional.linear import Linear
from components.functional.token_steps import TokenStep


@register("ffn", "mlp")
class MLP(nn.Module):
    """MLP: widen, bend, narrow again.

    Args:
        d_ff: width in between; null: ``widen`` times d_model.
        widen: used where d_ff is null.
        activation: by name; relu2 is max(x, 0) squared.
        bias: whether both projections have one.

    Shapes: (B, T, D) -> (B, T, D).
    """

    axes = {"up": ("d_model", "d_ff"), "out": ("d_ff", "d_model")}

    def __init__(
        self,
        d_model: int,
        *,
        d_ff: Positive | None = None,
        widen: PositiveFloat = 4.0,
        activation: Activation = "gelu",
        bias: bool = False,
    ) -> None:
        super().__init__()
        width = int(d_model * widen) if d_ff is None else d_ff
        self.splits = {"d_ff": width}
        self.up = Linear(d_model, width, bias=bias)
        self.out = Linear(width, d_model, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return bent_linear(self.activation, (self.up(x),), self.out)

    def token_step(self) -> TokenStep:
        bend, up, out = self.activation, by_token(self.up), by_token(self.out)
        return lambda x, _info: out(bend(up(x)))
