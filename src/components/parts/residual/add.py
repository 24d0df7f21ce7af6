"""He et al. 2015, arXiv:1512.03385"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import Probability
from components.functional.dropout import dropout_of
from components.parts.residual._stream import OneStream


@register("residual", "add")
class Add(OneStream):
    """Plain residual: the branch's output is added to the stream.

    Args:
        dropout: probability of dropping an entry of the branch's output.
    """

    def __init__(self, *, dropout: Probability = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        return s + (dropout_of(y, self.dropout, self.training) if self.dropout else y)
