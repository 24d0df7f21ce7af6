"""This is how layers were stacked before there were shortcuts.

He et al. 2015, arXiv:1512.03385 (the "plain" networks of section 3.3)
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import Probability
from components.functional.dropout import dropout_of
from components.parts.residual._stream import OneStream


@register("residual", "none")
class NoResidual(OneStream):
    """No residual: each branch's output is the new stream, and what went in is there no more.

    To be seen beside ``add``: a gradient that passes many layers has nothing but their products. Blocks that run their branches side by side
    are refused, since only the last one's output would be left.

    Args:
        dropout: probability of dropping an entry of the branch's output.
    """

    needs = {"block": ("sequential",)}

    def __init__(self, *, dropout: Probability = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        return (dropout_of(y, self.dropout, self.training) if self.dropout else y).to(s.dtype)
