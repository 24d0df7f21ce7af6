"""The number of pairs, triples and longer n-grams has no bound; the size of the tables has one.

Pagnoni et al. 2024 (BLT), arXiv:2412.09871, section 3.2.1, equations 2 to 4
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import NOTHING, Flops, Work
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, Probability
from components.core.sockets import SequenceInfo, info_of
from components.functional.earlier import earlier
from components.functional.hashing import mixed
from components.parts.embedding._scale import scale_of, scaled


@register("embedding", "ngram_hash")
class NGramHashEmbedding(nn.Module):
    """N-gram hash embedding: beside each token, vectors of the n-grams that end there, found by hash in tables of fixed size.

    Args:
        longest: the longest n-gram, in tokens; each length from 2 on has a table of its own.
        buckets: rows of each of these tables; n-grams that meet in a row share it.
        average: whether the sum is divided by the number of its vectors, as in BLT.
        scale: multiplies the vectors: a number, or "sqrt" for sqrt(d_model).
        dropout: probability of dropping an entry of the sum of token and position, applied by the model after ``embedding_norm``.

    Shapes: ids (B, T) -> (B, T, D).
    Errors: ValueError if longest is 1: that n-gram is the token itself.

    N-grams end at the border of a document; what is missing before it counts as a token of its own.
    """

    provides = ("table",)
    axes = {"table": ("vocab", "d_model"), "grams": ("one", "d_model")}

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        longest: Positive = 3,
        buckets: Positive = 16384,
        average: bool = True,
        scale: NonNegativeFloat | Literal["sqrt"] = 1.0,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.splits = {"vocab": vocab_size}
        if longest < 2:
            raise ValueError("longest=1 has no n-grams; choose 2 or more, or embedding=token")
        self.table = nn.Embedding(vocab_size, d_model)
        # one table for all lengths, in stretches of ``buckets`` rows: one look-up
        self.grams = nn.Embedding((longest - 1) * buckets, d_model)
        self.longest, self.buckets = longest, buckets
        self.scale, self.dropout = scale_of(scale, d_model) / (longest if average else 1), dropout

    def flops(self, work: Work) -> Flops:  # noqa: ARG002  the contract's argument
        return NOTHING  # looked up

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(ids, info)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        key, rows = ids + 1, []
        for n, before in enumerate(earlier(ids, info, self.longest - 1, state, fill=-1)):
            key = mixed(key) + before + 1
            rows.append(mixed(key) % self.buckets + n * self.buckets)
        x = self.table(ids) + self.grams(torch.stack(rows, -1)).sum(-2)
        return scaled(x, self.scale)
