"""Xavier, with a factor below 1 on values, outputs and ffn, so that very deep post-norm models train.

Wang et al. 2022, arXiv:2203.00555, figure 2
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive
from components.core.weights import MATRICES, Weight, key_of
from components.functional.deep_norm import beta_of
from components.parts.init._draw import drawn


@register("init", "deep_norm")
class DeepNormInit:
    """DeepNorm's init: Xavier normal; ``v``, output projections and the ffn's matrices times beta, by depth.

    Args:
        sides: of the model: ``one``, or ``two`` for an encoder-decoder, whose sides have betas of their own.
        encoder_layers: N of ``two``; null: as many as the model's deeper side.
        decoder_layers: M of ``two``; null: as many as the model's deeper side.
        embedding_std: of the embedding; a tied head is the embedding.

    It belongs to the block ``post_norm`` and the residual ``deep_norm``.
    """

    def __init__(
        self,
        n_layers: int,
        *,
        sides: Literal["one", "two"] = "one",
        encoder_layers: Positive | None = None,
        decoder_layers: Positive | None = None,
        embedding_std: NonNegativeFloat = 0.02,
    ) -> None:
        n, m = encoder_layers or n_layers, decoder_layers or n_layers
        two = {"encoder": beta_of("encoder", n, m), "decoder": beta_of("decoder", m, m)}
        self.betas = two if sides == "two" else {"": beta_of("only", n_layers, n_layers)}
        self.embedding_std = embedding_std

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        if weight.role == "embedding":
            return drawn(weight, generator, self.embedding_std)
        gain = self.beta(weight) if self.is_scaled(weight) else 1.0
        return drawn(weight, generator, gain * (2 / (weight.fan_in + weight.fan_out)) ** 0.5)

    def beta(self, weight: Weight) -> float:
        """Of the side that the weight stands in."""
        return next((b for side, b in self.betas.items() if side in key_of(weight).split(".") or not side), 1.0)

    @staticmethod
    def is_scaled(weight: Weight) -> bool:
        return weight.role == "out" or "d_ff" in weight.axes or "v" in weight.name.split(".")[-2:]
