"""Attention over many keys stays as sharp as over few.

Nakanishi 2025 (scalable softmax), arXiv:2501.19399; Llama 4 2025 (its layers without rotary positions)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive
from components.core.sockets import Maker, SequenceInfo, infos_of, make
from components.core.traits import biases, embeds, rotates


@register("position", "log_temperature")
class LogTemperature(nn.Module):
    """Logarithmic temperature: queries grow slowly with their position, around any other position.

    Args:
        scale: queries are multiplied by 1 + scale * ln(1 + floor((position + 1) / floor_scale)) (0.1 in Llama 4).
        floor_scale: positions over which the factor stays the same (8192 in Llama 4).
        inner: a position that rotates or biases besides, before queries grow.

    Errors: ValueError for an inner position that is added to the embedding, since it would be added for every kind of layer.
    """

    needs = {"attention": ("rotates",)}
    sets_lengths = True  # a norm after the rotation would undo it

    def __init__(
        self,
        d_model: int | None = None,
        context_length: int | None = None,
        n_heads: int | None = None,
        head_dim: int | None = None,
        *,
        scale: NonNegativeFloat = 0.1,
        floor_scale: Positive = 8192,
        inner: Maker["position"] = "none",
    ) -> None:
        super().__init__()
        self.strength, self.floor_scale = scale, floor_scale
        sizes: dict[str, Any] = {"d_model": d_model, "context_length": context_length, "n_heads": n_heads, "head_dim": head_dim}
        self.inner = make(inner, "position", **{n: v for n, v in sizes.items() if v is not None})
        if embeds(self.inner):
            raise ValueError(
                "inner is added to the embedding, not to a layer: give it as the position of other layers, or inner=none"
            )
        self.turns = rotates(self.inner)
        if biases(self.inner):
            self.bias = self.inner.bias

    def growth(self, positions: Tensor) -> Tensor:
        """(B or 1, T) -> the factor of each query, fp32."""
        return torch.log1p(torch.floor((positions.float() + 1) / self.floor_scale)) * self.strength + 1

    def rotate(
        self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None
    ) -> tuple[Tensor, Tensor]:
        q_info, k_info = infos_of(q, k, q_info, k_info)
        if self.turns:
            q, k = self.inner.rotate(q, k, q_info, k_info)
        positions = q_info.placed()
        grown = q_info.once(("log_temperature", self.strength, self.floor_scale), lambda: self.growth(positions))
        return (q * grown[:, None, :, None]).to(q.dtype), k
