"""Each matrix keeps the length of vectors, up to a factor.

Saxe et al. 2013, arXiv:1312.6120, section 3
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.weights import MATRICES, Weight, blank
from components.parts.init._draw import drawn


@register("init", "orthogonal")
class Orthogonal:
    """Orthogonal init: each matrix has orthonormal rows or columns, whichever are fewer, times a gain; each expert has its own.

    Args:
        gain: factor on all matrices but the embedding.
        out_gain: further factor on output projections.
        embedding_std: of the embedding, whose rows are vectors and no map; a tied head is the embedding.
    """

    def __init__(
        self, *, gain: NonNegativeFloat = 1.0, out_gain: NonNegativeFloat = 1.0, embedding_std: NonNegativeFloat = 0.02
    ) -> None:
        self.gain, self.out_gain, self.embedding_std = gain, out_gain, embedding_std

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        if weight.role == "embedding":
            return drawn(weight, generator, self.embedding_std)
        gain = self.gain * (self.out_gain if weight.role == "out" else 1.0)
        value = blank(weight, generator)
        for matrix in value.view(-1, *value.shape[-2:]) if value.dim() > 2 else [value]:
            nn.init.orthogonal_(matrix, gain, generator=generator)
        return value
