"""One learned factor on each branch's output, zero at first, so that the network begins as the identity.

Bachlechner et al. 2020, arXiv:2003.04887, equation 3
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Probability
from components.core.sockets import Place
from components.functional.dropout import dropout_of
from components.parts.residual._stream import OneStream


@register("residual", "re_zero")
class ReZero(OneStream):
    """ReZero: one learned factor on each branch's output, zero at first. The paper's blocks have no norms (``pre_norm`` with norm ``none``).

    Args:
        initial: first value of the factor.
        dropout: probability of dropping an entry of the branch's output.

    Without a place (the stack's own, which only opens and closes) there is no factor.
    """

    axes = {"factor": ("one",)}

    def __init__(self, place: Place | None = None, *, initial: float = 0.0, dropout: Probability = 0.0) -> None:
        super().__init__()
        self.initial, self.dropout = initial, dropout
        if place is not None:
            self.factor = nn.Parameter(torch.empty(1))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters(recurse=False):
            nn.init.constant_(parameter, self.initial)

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        return s + self.factor.to(y.dtype) * (dropout_of(y, self.dropout, self.training) if self.dropout else y)
