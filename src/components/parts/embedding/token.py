"""Bengio et al. 2003, JMLR 3; scaled by sqrt(d_model) in Vaswani et al. 2017, arXiv:1706.03762, section 3.4"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.flops import NOTHING, Flops, Work
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Probability
from components.core.sockets import SequenceInfo
from components.parts.embedding._scale import scale_of, scaled


@register("embedding", "token")
class TokenEmbedding(nn.Module):
    """Token embedding: one learned vector per token of the vocabulary.

    Args:
        scale: multiplies the vectors: a number, or "sqrt" for sqrt(d_model).
        dropout: probability of dropping an entry of the sum of token and position, applied by the model after ``embedding_norm``.

    Shapes: ids (B, T) -> (B, T, D).
    """

    provides = ("table",)
    axes = {"table": ("vocab", "d_model")}

    def __init__(
        self, vocab_size: int, d_model: int, *, scale: NonNegativeFloat | Literal["sqrt"] = 1.0, dropout: Probability = 0.0
    ) -> None:
        super().__init__()
        self.splits = {"vocab": vocab_size}
        self.table = nn.Embedding(vocab_size, d_model)
        self.scale, self.dropout = scale_of(scale, d_model), dropout

    def flops(self, work: Work) -> Flops:  # noqa: ARG002  the contract's argument
        return NOTHING  # looked up

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return scaled(self.table(ids), self.scale)
