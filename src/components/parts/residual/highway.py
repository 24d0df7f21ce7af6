"""A gate, computed from the stream, says for each channel how much of it is replaced by the branch's output.

Srivastava et al. 2015, arXiv:1505.00387, equation 3
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Probability
from components.core.sockets import Place
from components.functional.dropout import dropout_of
from components.functional.linear import Linear
from components.parts.residual._stream import OneStream


@register("residual", "highway")
class Highway(OneStream):
    """Highway residual: the new stream is t y + (1 - t) s with t = sigmoid(W s + b).

    Args:
        open_at: first value of b; negative, so that the stream is carried on at first (the paper: -1 to -4, by depth).
        dropout: probability of dropping an entry of the branch's output.

    Without a place (the stack's own, which only opens and closes) there is no gate.
    """

    axes = {"transform": ("d_model", "d_model"), "shift": ("d_model",)}

    def __init__(self, d_model: int, place: Place | None = None, *, open_at: float = -2.0, dropout: Probability = 0.0) -> None:
        super().__init__()
        self.open_at, self.dropout = open_at, dropout
        if place is not None:
            self.transform = Linear(d_model, d_model, bias=False)
            self.shift = nn.Parameter(torch.empty(d_model))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters(recurse=False):
            nn.init.constant_(parameter, self.open_at)

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        if self.dropout:
            y = dropout_of(y, self.dropout, self.training)
        t = torch.sigmoid(self.transform(s) + self.shift.to(y.dtype))
        return s + t.to(s.dtype) * (y - s)
