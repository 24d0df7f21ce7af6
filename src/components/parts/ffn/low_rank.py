"""Less memory and work at the same width in between.

Wei et al. 2024, arXiv:2407.09835, section 2.1
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.functional.activations import ACTIVATIONS, Activation
from components.functional.bent_linear import bent_linear
from components.functional.linear import Linear


@register("ffn", "low_rank")
class LowRankMLP(nn.Module):
    """Low-rank MLP: each of the two matrices is a product of two thin ones.

    Args:
        d_ff: width in between; null: ``widen`` times d_model.
        widen: used where d_ff is null.
        rank: width between the thin matrices; null: half of d_model, which takes 5/8 of the MLP's parameters at four times d_model.
        activation: by name; relu2 is max(x, 0) squared.

    Shapes: (B, T, D) -> (B, T, D).
    """

    axes = {
        "down": ("d_model", "latent"),
        "up": ("latent", "d_ff"),
        "narrow": ("d_ff", "latent"),
        "out": ("latent", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        *,
        d_ff: Positive | None = None,
        widen: PositiveFloat = 4.0,
        rank: Positive | None = None,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        width, thin = int(d_model * widen) if d_ff is None else d_ff, max(1, d_model // 2) if rank is None else rank
        self.splits = {"d_ff": width}
        self.down, self.up = Linear(d_model, thin, bias=False), Linear(thin, width, bias=False)
        self.narrow, self.out = Linear(width, thin, bias=False), Linear(thin, d_model, bias=False)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.out(bent_linear(self.activation, (self.up(self.down(x)),), self.narrow))
