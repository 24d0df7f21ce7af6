"""DropPath (stochastic depth): in training, a sequence skips a whole branch with a probability that grows with depth.

Huang et al. 2016, arXiv:1603.09382, section 3
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from components.core.registry import register
from components.core.signature import Fraction, Probability
from components.core.sockets import Place
from components.functional.dropout import dropout_of, kept_rows
from components.parts.residual._stream import OneStream


@register("residual", "drop_path")
class DropPath(OneStream):
    """DropPath: in training, a sequence skips a whole branch; what is kept is scaled up, so that nothing changes afterwards.

    Args:
        rate: probability of skipping a branch of the last layer.
        over_depth: ``linear``: layer l of L (from 1) skips with rate * l / L; ``constant``: every layer with ``rate``.
        dropout: probability of dropping an entry of the branch's output.
    """

    def __init__(
        self,
        place: Place | None = None,
        *,
        rate: Fraction = 0.1,
        over_depth: Literal["linear", "constant"] = "linear",
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        deep = (place.index + 1) / place.count if place and over_depth == "linear" else 1.0
        self.rate, self.dropout = rate * deep, dropout

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        if self.dropout:
            y = dropout_of(y, self.dropout, self.training)
        if self.rate and self.training:
            y = y * (kept_rows(y, self.rate) / (1 - self.rate))
        return s + y
