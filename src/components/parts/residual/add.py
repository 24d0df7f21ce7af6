"""He et al. 2015, arXiv:1512.03385"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Probability


@register("residual", "add")
class Add(nn.Module):
    """Plain residual: the branch's output is added to the stream.

    Args:
        dropout: probability of dropping an entry of the branch's output.
    """

    def __init__(self, *, dropout: Probability = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    def open(self, x: Tensor) -> Tensor:
        return x

    def close(self, s: Tensor) -> Tensor:
        return s

    def read(self, s: Tensor) -> Tensor:
        return s

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        return s + (F.dropout(y, self.dropout, self.training) if self.dropout else y)
