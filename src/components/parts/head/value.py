"""For a critic, or for a reward model that is read at the last position.

Stiennon et al. 2020, arXiv:2009.01325; Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Probability
from components.core.sockets import SequenceInfo
from components.functional.dropout import dropout_of


@register("head", "value")
class ValueHead(nn.Module):
    """Value head: one number at each position.

    Args:
        bias: whether it has one.
        dropout: probability of dropping an entry of each vector before.

    Shapes: (B, T, D) -> (B, T, 1).
    """

    provides = ("amounts", "scores")
    axes = {"amounts": ("d_model", "vocab")}

    def __init__(self, d_model: int, *, bias: bool = True, dropout: Probability = 0.0) -> None:
        super().__init__()
        self.amounts = nn.Linear(d_model, 1, bias=bias)
        self.dropout = dropout

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.amounts(dropout_of(x, self.dropout, self.training) if self.dropout else x)
