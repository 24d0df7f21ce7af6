"""Parisotto et al. 2019 (GTrXL), arXiv:1910.06764, section 3.2"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Probability
from components.core.sockets import Place
from components.functional.activations import ACTIVATIONS
from components.functional.dropout import dropout_of
from components.functional.linear import Linear
from components.functional.precision import cast_once
from components.parts.residual._stream import OneStream


@register("residual", "gated")
class Gated(OneStream):
    """Gated residual: a GRU takes the stream as its state and the branch's output as its input.

    r = sigmoid(W_r y + U_r s), z = sigmoid(W_z y + U_z s - b), h = tanh(W_h y + U_h (r s)); the new stream is (1 - z) s + z h.

    Args:
        keep: first value of b; the larger, the closer each branch begins to the identity.
        activation: of the branch's output before it is read; ``identity`` leaves it as it is; the paper's GTrXL has relu.
        dropout: probability of dropping an entry of the branch's output.

    Without a place (the stack's own, which only opens and closes) there is nothing to learn.
    """

    axes = {
        "reset_y": ("d_model", "d_model"),
        "reset_s": ("d_model", "d_model"),
        "update_y": ("d_model", "d_model"),
        "update_s": ("d_model", "d_model"),
        "new_y": ("d_model", "d_model"),
        "new_s": ("d_model", "d_model"),
        "hold": ("d_model",),
    }

    reset_y: nn.Linear
    reset_s: nn.Linear
    update_y: nn.Linear
    update_s: nn.Linear
    new_y: nn.Linear
    new_s: nn.Linear

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        keep: float = 2.0,
        activation: Literal["relu", "identity"] = "identity",
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.keep, self.dropout, self.activation = keep, dropout, ACTIVATIONS[activation]
        if place is not None:
            for name in ("reset_y", "reset_s", "update_y", "update_s", "new_y", "new_s"):
                setattr(self, name, Linear(d_model, d_model, bias=False))
            self.hold = nn.Parameter(torch.empty(d_model))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters(recurse=False):
            nn.init.constant_(parameter, self.keep)

    def write(self, s: Tensor, y: Tensor) -> Tensor:
        y = self.activation(dropout_of(y, self.dropout, self.training) if self.dropout else y)
        y, low = cast_once(y), cast_once(s)
        r = torch.sigmoid(self.reset_y(y) + self.reset_s(low))
        z = torch.sigmoid(self.update_y(y) + self.update_s(low) - self.hold.to(y.dtype))
        h = torch.tanh(self.new_y(y) + self.new_s(r * low))
        return s + z.to(s.dtype) * (h - s)
