"""A token has small vectors besides its embedding, one for each layer, which the layers read beside the stream.

Gemma 3n 2025 and Gemma 4 2026 (per-layer embeddings)
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, flops_of
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, Probability
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional.layer_vectors import layer_width
from components.functional.linear import Linear
from components.parts.embedding._scale import scale_of, scaled


@register("embedding", "per_layer_embeddings")
class PerLayerEmbeddings(nn.Module):
    """Per-layer embeddings: a second table has a small vector of each token for every layer, and what the token's own vector says is added to it.

    Of layer l the vector is (sqrt(P) t_l + norm(W_l x / sqrt(D))) / sqrt(2), where x is the token's embedding and t_l its row in the second table.

    Args:
        width: P, of a layer's vector; null: an eighth of d_model.
        rows: ids that have a row of their own in the second table, at most all there are; the others take the first one; null: all.
        norm: of what is projected from the embedding, over a layer's vector.
        scale: multiplies the token's vectors: a number, or "sqrt" for sqrt(d_model).
        dropout: probability of dropping an entry of the sum of token and position, applied by the model after ``embedding_norm``.

    Shapes: ids (B, T) -> (B, T, D).

    Writes the vectors of all layers (B, T, L, P) to ``info.out["layer_vectors"]``; ``ffn/per_layer_input`` reads its layer's. Dropout does not touch them.
    """

    provides = ("table",)
    carries_out = ("layer_vectors",)
    axes = {"table": ("vocab", "d_model"), "vectors": ("vocab", "latent"), "project": ("d_model", "latent")}

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        n_layers: int,
        *,
        width: Positive | None = None,
        rows: Positive | None = None,
        norm: Maker["norm"] = "rms",
        scale: NonNegativeFloat | Literal["sqrt"] = 1.0,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.rows = layer_width(width, d_model), vocab_size if rows is None else min(rows, vocab_size)
        self.all_rows = self.rows == vocab_size
        self.scale, self.dropout = scale_of(scale, d_model), dropout
        self.table = nn.Embedding(vocab_size, d_model)
        self.vectors = nn.Embedding(self.rows, n_layers * self.width)
        self.project = Linear(d_model, n_layers * self.width, bias=False)
        self.norm = make(norm, "norm", dim=self.width)

    def flops(self, work: Work) -> Flops:
        return flops_of(self.project, work)  # the tables are looked up

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(ids, info)
        x = scaled(self.table(ids), self.scale)
        own = self.vectors(ids if self.all_rows else torch.where(ids < self.rows, ids, 0)) * math.sqrt(self.width)
        said = self.project(x) * x.shape[-1] ** -0.5
        own, said = (v.unflatten(-1, (-1, self.width)) for v in (own, said))
        info.out["layer_vectors"] = (own + self.norm(said)) * 2**-0.5
        return x
