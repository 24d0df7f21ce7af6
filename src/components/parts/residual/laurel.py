"""What is carried on is not the stream alone but the stream and a low-rank linear map of it.

Menghani et al. 2024, arXiv:2411.07501, section 2 (LAuReL-LR; with ``weighted`` also LAuReL-RW)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Place
from components.functional.dropout import dropout_of
from components.functional.linear import Linear
from components.parts.residual._stream import OneStream


@register("residual", "laurel")
class Laurel(OneStream):
    """LAuReL: the new stream is y + s + B A s with A (D to rank) and B (rank to D).

    Args:
        rank: of the map.
        weighted: a (y) + b (s + B A s) with learned a and b instead, 1 at first: 2 softmax of two numbers.
        dropout: probability of dropping an entry of the branch's output.

    Without a place (the stack's own, which only opens and closes) there is nothing to learn. B is named ``out``: an init that makes
    branches begin small or at zero does so here.
    """

    axes = {"down": ("d_model", "latent"), "out": ("latent", "d_model"), "balance": ("one",)}

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        rank: Positive = 16,
        weighted: bool = False,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.weighted, self.dropout = weighted, dropout
        if place is not None:
            self.down = Linear(d_model, rank, bias=False)
            self.out = Linear(rank, d_model, bias=False)
            if weighted:
                self.balance = nn.Parameter(torch.empty(2))
                self.reset_parameters()

    def reset_parameters(self) -> None:
        for balance in self.parameters(recurse=False):
            nn.init.zeros_(balance)

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        if self.dropout:
            y = dropout_of(y, self.dropout, self.training)
        carried = s + self.out(self.down(s))
        if not self.weighted:
            return carried + y
        a, b = (2 * torch.softmax(self.balance, 0)).to(s.dtype).unbind()
        return a * y + b * carried
