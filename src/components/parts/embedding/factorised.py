"""Lan et al. 2019 (ALBERT), arXiv:1909.11942, section 3.1"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, Probability
from components.core.sockets import SequenceInfo
from components.functional.linear import Linear
from components.parts.embedding._scale import scale_of, scaled


@register("embedding", "factorised")
class FactorisedEmbedding(nn.Module):
    """Factorised embedding: a narrow table of tokens, and one matrix that widens its vectors to the model.

    Args:
        width: of the table; null: a quarter of d_model.
        bias: whether the matrix has one (ALBERT's has).
        scale: multiplies the vectors: a number, or "sqrt" for sqrt(d_model).
        dropout: probability of dropping an entry of the sum of token and position, applied by the model after ``embedding_norm``.

    Shapes: ids (B, T) -> (B, T, D).

    Its rows are narrower than the vectors that a head reads: the head that is tied to them is head/tied_factorised.
    """

    provides = ("narrow_table",)
    axes = {"tokens": ("vocab", "latent"), "up": ("latent", "d_model")}

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        width: Positive | None = None,
        bias: bool = False,
        scale: NonNegativeFloat | Literal["sqrt"] = 1.0,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.splits = {"vocab": vocab_size}
        narrow = max(1, d_model // 4) if width is None else width
        self.tokens = nn.Embedding(vocab_size, narrow)
        self.up = Linear(narrow, d_model, bias=bias)
        self.scale, self.dropout = scale_of(scale, d_model), dropout

    def flops(self, work: Work) -> Flops:
        return children(self, work, leave=("tokens",))  # looked up

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return scaled(self.up(self.tokens(ids)), self.scale)
