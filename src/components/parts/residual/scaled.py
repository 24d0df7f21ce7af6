"""Granite (IBM 2024) and Wang et al. 2022; 1 / sqrt(2 L) by depth in De & Smith 2020, arXiv:2002.10444"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Probability
from components.core.sockets import Place
from components.functional.dropout import dropout_of
from components.parts.residual._stream import OneStream


@register("residual", "scaled")
class Scaled(OneStream):
    """Scaled residual: the branch's output is multiplied by a constant before it is added.

    Args:
        scale: the constant, or "depth" for 1 / sqrt(2 * number of layers).
        dropout: probability of dropping an entry of the branch's output.
    """

    def __init__(
        self, place: Place | None = None, *, scale: NonNegativeFloat | Literal["depth"] = "depth", dropout: Probability = 0.0
    ) -> None:
        super().__init__()
        count = place.count if place else 1
        self.scale = 1 / math.sqrt(2 * count) if scale == "depth" else float(scale)
        self.dropout = dropout

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        return s + self.scale * (dropout_of(y, self.dropout, self.training) if self.dropout else y)
