"""Regression head: one vector for the whole sequence, then some numbers.

Devlin et al. 2018 (BERT), arXiv:1810.04805, on STS-B
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from components.flops import Flops, Work, both, flops_of
from components.registry import register
from components.signature import Positive, Probability
from components.sockets import Maker, SequenceInfo, make


@register("head", "regression")
class RegressionHead(nn.Module):
    """Regression head: the sequence pooled to one vector, then ``n_outputs`` numbers.

    Args:
        n_outputs: how many numbers.
        pooling: how the sequence becomes one vector.
        dropout: probability of dropping an entry of the pooled vector.
        bias: whether each number has one.

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
    ) -> None:
        super().__init__()
        self.pooling = make(pooling, "pooling", d_model=d_model)
        self.amounts = nn.Linear(d_model, n_outputs, bias=bias)
        self.dropout = dropout

    def flops(self, work: Work) -> Flops:
        """The pooling over all positions, the numbers once."""
        return flops_of(self.pooling, work) + both(2 * self.amounts.weight.numel())

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        y = self.pooling(x, info)
        return self.amounts(F.dropout(y, self.dropout, self.training) if self.dropout else y)
