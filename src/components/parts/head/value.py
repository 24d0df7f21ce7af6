"""For a critic, or for a reward model that is read at the last position, or for a discriminator of tokens.

Stiennon et al. 2020, arXiv:2009.01325; Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155; with a dense layer: Clark et al. 2020 (ELECTRA), arXiv:2003.10555
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Probability
from components.core.sockets import SequenceInfo
from components.functional.activations import ACTIVATIONS, Activation
from components.functional.dropout import dropout_of
from components.functional.linear import Linear


@register("head", "value")
class ValueHead(nn.Module):
    """Value head: one number at each position.

    Args:
        dense: whether a dense layer with an activation comes before (ELECTRA's discriminator).
        activation: of the dense layer, by name.
        bias: whether it has one, and the dense layer.
        dropout: probability of dropping an entry of each vector before.

    Shapes: (B, T, D) -> (B, T, 1).
    """

    provides = ("amounts", "scores")
    axes = {"dense": ("d_model", "d_model"), "amounts": ("d_model", "vocab")}

    def __init__(
        self,
        d_model: int,
        *,
        dense: bool = False,
        activation: Activation = "gelu",
        bias: bool = True,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.dense = Linear(d_model, d_model, bias=bias) if dense else None
        self.activation = ACTIVATIONS[activation]
        self.amounts = Linear(d_model, 1, bias=bias)
        self.dropout = dropout

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        if self.dropout:
            x = dropout_of(x, self.dropout, self.training)
        return self.amounts(x if self.dense is None else self.activation(self.dense(x)))
