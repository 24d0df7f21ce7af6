"""Devlin et al. 2018 (BERT), arXiv:1810.04805, on STS-B; with a threshold: Rosenblatt 1958, doi:10.1037/h0042519"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.flops import Flops, Work, both, flops_of
from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional.activations import UNITS
from components.functional.dropout import dropout_of
from components.functional.linear import Linear


@register("head", "regression")
class RegressionHead(nn.Module):
    """Regression head: the sequence pooled to one vector, then ``n_outputs`` numbers.

    Args:
        n_outputs: how many numbers.
        pooling: how the sequence becomes one vector.
        dropout: probability of dropping an entry of the pooled vector.
        bias: whether each number has one.
        activation: of the numbers: sigmoid for those between 0 and 1, tanh between -1 and 1; step makes each a vote with a threshold,
            which is 0 or 1 and has no gradient.

    Shapes: (B, T, D) -> (B, n_outputs).
    """

    provides = ("amounts",)
    lacks = ("causal", "cacheable", "documents")  # it sees the whole row
    axes = {"amounts": ("d_model", "vocab")}

    def __init__(
        self,
        d_model: int,
        *,
        n_outputs: Positive = 1,
        pooling: Maker["pooling"] = "first",
        dropout: Probability = 0.0,
        bias: bool = True,
        activation: Literal["identity", "relu", "softplus", "sigmoid", "tanh", "step"] = "identity",
    ) -> None:
        super().__init__()
        self.activation = UNITS[activation]
        self.n_outputs = n_outputs
        self.pooling = make(pooling, "pooling", d_model=d_model)
        self.amounts = Linear(d_model, n_outputs, bias=bias)
        self.dropout = dropout

    def flops(self, work: Work) -> Flops:
        """The pooling over all positions, the numbers once."""
        return flops_of(self.pooling, work) + both(2 * self.amounts.weight.numel())

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        y = self.pooling(x, info)
        return self.activation(self.amounts(dropout_of(y, self.dropout, self.training) if self.dropout else y))
