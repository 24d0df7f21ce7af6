"""First values and learning rates by width, such that the best learning rate of a narrow model is the best of a wide one.

Yang et al. 2022, arXiv:2203.03466, table 3 (Adam); docs/mup.md shows both checks
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive
from components.core.weights import MATRICES, Weight
from components.parts.init._draw import drawn

BY_WIDTH = ("hidden", "out", "head", "router")  # matrices whose inputs grow in number with the width


@register("init", "mup")
class MuP:
    """muP: hidden matrices with variance 1 / fan-in, head and router 1 / fan-in^2, embedding constant; Adam's rate 1 / width but for the embedding.

    Args:
        base_width: d_model at which rates are those that the optimizer says and head and router have std 1 / sqrt(base_width).
        gain: factor on the standard deviation of hidden matrices.
        embedding_std: of the embedding, at every width.
        head: ``scaled``, or ``zero`` (appendix D.2: the first logits are then those of an infinitely wide model).

    Heads, d_ff and d_model are to grow together, with head_dim as it is: scores are divided by its root, not by its value. A tied head is
    the embedding: its logits grow with the width unless the head divides them. The rates are for optimizers that normalise each gradient
    (adamw); Muon's step for matrices is spectral and needs no factor.
    """

    def __init__(
        self,
        d_model: int,
        *,
        base_width: Positive = 64,
        gain: NonNegativeFloat = 1.0,
        embedding_std: NonNegativeFloat = 1.0,
        head: Literal["scaled", "zero"] = "scaled",
    ) -> None:
        self.ratio, self.base_width = d_model / base_width, base_width
        self.gain, self.embedding_std, self.head = gain, embedding_std, head

    def lr_scale(self, weight: Weight) -> float:
        """Factor on the optimizer's learning rate."""
        return 1.0 / self.ratio if weight.role in BY_WIDTH else 1.0

    def __call__(self, weight: Weight, generator: torch.Generator) -> Tensor | None:
        if weight.role not in MATRICES:
            return None
        if weight.role == "embedding":
            return drawn(weight, generator, self.embedding_std)
        if weight.role in ("head", "router"):
            zero = weight.role == "head" and self.head == "zero"
            return drawn(weight, generator, 0.0 if zero else self.base_width**0.5 / weight.fan_in)
        return drawn(weight, generator, self.gain * weight.fan_in**-0.5)
