"""The block norms the sum afterwards (post-norm).

Wang et al. 2022, arXiv:2203.00555, table in figure 2
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat, Probability
from components.core.sockets import Place
from components.functional.deep_norm import alpha_of
from components.functional.dropout import dropout_of
from components.parts.residual._stream import OneStream


@register("residual", "deep_norm")
class DeepNorm(OneStream):
    """DeepNorm: the stream is multiplied by a constant above 1 before the branch's output is added.

    Args:
        alpha: the constant, or "depth" for the paper's: (2 N)^(1/4) in a model of one side.
        side: which side of an encoder-decoder these layers are, or the ``only`` one. Decoder: (3 M)^(1/4), encoder: 0.81 (N^4 M)^(1/16).
        decoder_layers: M, for the encoder's side; null: as many as the encoder has.
        beta: constant on the branch's output, as MiniMax has it; the paper's is 1.
        dropout: probability of dropping an entry of the branch's output.

    It belongs to the block ``post_norm`` and the init ``deep_norm``; in other blocks the stream grows by the constant at every branch.
    """

    def __init__(
        self,
        place: Place | None = None,
        *,
        alpha: PositiveFloat | Literal["depth"] = "depth",
        side: Literal["only", "encoder", "decoder"] = "only",
        decoder_layers: Positive | None = None,
        beta: PositiveFloat = 1.0,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        count = place.count if place else 1
        self.alpha = alpha_of(side, count, decoder_layers or count) if alpha == "depth" else float(alpha)
        self.beta, self.dropout = beta, dropout

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        y = dropout_of(y, self.dropout, self.training) if self.dropout else y
        return self.alpha * s + (y if self.beta == 1.0 else self.beta * y)
