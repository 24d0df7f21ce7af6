"""Devlin et al. 2018 (BERT), arXiv:1810.04805, section 4; the dense layer as in Liu et al. 2019 (RoBERTa), arXiv:1907.11692"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.flops import Flops, Work, both, flops_of
from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional.activations import ACTIVATIONS
from components.functional.dropout import dropout_of
from components.functional.linear import Linear


@register("head", "classification")
class ClassificationHead(nn.Module):
    """Classification head: the sequence pooled to one vector, then a score for each class.

    Args:
        n_classes: number of classes.
        pooling: how the sequence becomes one vector.
        dense: whether a dense layer with an activation comes before the scores (BERT's pooler, RoBERTa, BART).
        activation: of the dense layer, by name.
        norm: after the activation, or of the pooled vector where there is no dense layer.
        dropout: probability of dropping an entry of what goes into the dense layer and into the scores.
        bias: whether dense layer and scores have one; GPT-2 has none.

    Shapes: (B, T, D) -> (B, n_classes).
    """

    provides = ("classes",)
    lacks = ("causal", "cacheable", "documents")  # it sees the whole row
    axes = {"dense": ("d_model", "d_model"), "logits": ("d_model", "vocab")}

    def __init__(
        self,
        d_model: int,
        *,
        n_classes: Positive = 2,
        pooling: Maker["pooling"] = "first",
        dense: bool = False,
        activation: Literal["relu", "gelu", "gelu_tanh", "silu", "tanh"] = "tanh",
        norm: Maker["norm"] = "none",
        dropout: Probability = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.pooling = make(pooling, "pooling", d_model=d_model)
        self.dense = Linear(d_model, d_model, bias=bias) if dense else None
        self.activation = ACTIVATIONS[activation]
        self.norm = make(norm, "norm", dim=d_model)
        self.logits = Linear(d_model, n_classes, bias=bias)
        self.dropout = dropout

    def flops(self, work: Work) -> Flops:
        """The pooling over all positions, everything after it once."""
        dense = 0 if self.dense is None else self.dense.weight.numel()
        return flops_of(self.pooling, work) + both(2 * (dense + self.logits.weight.numel()))

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        y = self.pooling(x, info)
        if self.dense is not None:
            y = self.activation(self.dense(self._dropped(y)))
        return self.logits(self._dropped(self.norm(y)))

    def _dropped(self, y: Tensor) -> Tensor:
        return dropout_of(y, self.dropout, self.training) if self.dropout else y
