"""Zhou et al. 2024 (ResFormer), arXiv:2410.17897, section 3 (learnable)"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegative
from components.core.sockets import Place, SequenceInfo, info_of


@register("value", "residual")
class ResidualValue(nn.Module):
    """Value residual: every later layer reads a learned mix of its own values and the first layer's.

    Args:
        first: the layer whose values the later ones mix in; it and those before it keep their own.
        start: [factor of the layer's own values, factor of the first layer's] before training.

    Shapes: (B, G, T, K) -> (B, G, T, K).
    Errors: ValueError if layer ``first`` wrote no values, or values of another shape.
    """

    axes = {"mix": ("one",)}
    carries_in = ("values",)
    carries_out = ("values",)

    def __init__(self, place: Place, *, first: NonNegative = 0, start: tuple[float, float] = (0.5, 0.5)) -> None:
        super().__init__()
        self.place, self.first, self.start = place, first, tuple(start)
        if place.index > first:
            self.mix = nn.Parameter(torch.empty(2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.place.index > self.first:
            with torch.no_grad():
                self.mix.copy_(torch.tensor(self.start))

    def forward(self, v: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        given = info.carry.get("values")
        if self.place.index <= self.first:
            if self.place.index == self.first and given is None:  # a looped stack passes here again: its first values stay
                info.out["values"] = v
            return v
        if given is None:
            raise ValueError(
                f"layer {self.place.index} mixes in the values of layer {self.first}, which wrote none: give that layer value=residual "
                f"too, or say with first= which layer has them"
            )
        if given.shape != v.shape:
            raise ValueError(
                f"layer {self.place.index} has values {tuple(v.shape)} and layer {self.first} {tuple(given.shape)}: "
                f"give both the same n_kv_heads and head_dim"
            )
        own, first = self.mix.to(v.dtype)
        return own * v + first * given.to(v.dtype)
