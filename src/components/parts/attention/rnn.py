"""The simplest recurrence, h = tanh(W x + U h + b), computed one position after the other.

Elman 1990, doi:10.1207/s15516709cog1402_1; with ReLU: Le et al. 2015, arXiv:1504.00941
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.activations import ACTIVATIONS
from components.functional.linear import Linear
from components.functional.precision import cast_once
from components.functional.recurrent import States, unroll


@register("attention", "rnn")
class RNN(nn.Module):
    """RNN: one hidden vector, made anew at each position: h = tanh(W x + U h + b).

    The cell is that of ``torch.nn.RNN``; its two biases are one here. It reads from left to right, in encoders too, and position by position.
    It is told no positions and needs none.

    Args:
        hidden: channels of the hidden vector; null: d_model.
        activation: of the hidden vector, by name.

    Shapes: (B, T, D) -> (B, T, D).
    """

    provides = ("state",)
    checked_with = ("model.position=none",)
    axes = {"input": ("d_model", "state"), "recurrent": ("state", "state"), "out": ("state", "d_model")}

    def __init__(self, d_model: int, *, hidden: Positive | None = None, activation: Literal["tanh", "relu"] = "tanh") -> None:
        super().__init__()
        self.hidden, self.activation = d_model if hidden is None else hidden, ACTIVATIONS[activation]
        self.input = Linear(d_model, self.hidden)
        self.recurrent = Linear(self.hidden, self.hidden, bias=False)
        self.out = Linear(self.hidden, d_model, bias=False)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        inputs = self.input(cast_once(x))
        empty = inputs.new_zeros(x.shape[0], self.hidden)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        return self.out(unroll(self._cell, inputs, (empty,), info, state))

    def _cell(self, y: Tensor, states: States) -> States:
        (h,) = states
        return (self.activation(y + self.recurrent(h)).to(h.dtype),)
