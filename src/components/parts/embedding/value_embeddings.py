"""Zhou et al. 2024 (ResFormer), arXiv:2410.17897; a table of its own as in modded-nanogpt 2024"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.flops import NOTHING, Flops, Work
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Probability
from components.core.sockets import SequenceInfo, info_of
from components.parts.embedding._scale import scale_of, scaled


@register("embedding", "value_embeddings")
class ValueEmbeddings(nn.Module):
    """Value embeddings: a second table of vectors by token, which layers may add to the values that attention reads.

    Args:
        scale: multiplies the vectors: a number, or "sqrt" for sqrt(d_model).
        dropout: probability of dropping an entry of the sum of token and position, applied by the model after ``embedding_norm``.

    Shapes: ids (B, T) -> (B, T, D).

    Writes the second table's vectors (B, T, D) to ``info.out["value_embeddings"]``; ``value=embedding`` reads them. Neither scale nor dropout
    touches them.
    """

    provides = ("table",)
    carries_out = ("value_embeddings",)
    axes = {"table": ("vocab", "d_model"), "values": ("vocab", "d_model")}

    def __init__(
        self, vocab_size: int, d_model: int, *, scale: NonNegativeFloat | Literal["sqrt"] = 1.0, dropout: Probability = 0.0
    ) -> None:
        super().__init__()
        self.table, self.values = nn.Embedding(vocab_size, d_model), nn.Embedding(vocab_size, d_model)
        self.scale, self.dropout = scale_of(scale, d_model), dropout

    def flops(self, work: Work) -> Flops:  # noqa: ARG002  the contract's argument
        return NOTHING  # looked up

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(ids, info)
        info.out["value_embeddings"] = self.values(ids)
        return scaled(self.table(ids), self.scale)
