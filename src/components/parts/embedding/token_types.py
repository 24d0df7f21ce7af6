"""Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3, figure 2"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import NOTHING, Flops, Work
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, Probability
from components.core.sockets import SequenceInfo, info_of
from components.parts.embedding._scale import scale_of, scaled


@register("embedding", "token_types")
class TokenTypes(nn.Module):
    """Token types: each token's vector plus one for the segment that it belongs to.

    Args:
        n_types: how many kinds of segment there are.
        scale: multiplies the vectors: a number, or "sqrt" for sqrt(d_model).
        dropout: probability of dropping an entry of the sum of token and position, applied by the model after ``embedding_norm``.

    Shapes: ids (B, T) -> (B, T, D).

    ``info.token_types`` says which segment; without any, all is of type 0.
    """

    provides = ("table", "token_types")
    axes = {"table": ("vocab", "d_model"), "types": ("one", "d_model")}

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        n_types: Positive = 2,
        scale: NonNegativeFloat | Literal["sqrt"] = 1.0,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.splits = {"vocab": vocab_size}
        self.table, self.types = nn.Embedding(vocab_size, d_model), nn.Embedding(n_types, d_model)
        self.scale, self.dropout = scale_of(scale, d_model), dropout

    def flops(self, work: Work) -> Flops:  # noqa: ARG002  the contract's argument
        return NOTHING  # looked up

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(ids, info)
        types = torch.zeros_like(ids) if info.token_types is None else info.token_types
        return scaled(self.table(ids), self.scale) + self.types(types)
