"""The cell is only added to and scaled, so gradients pass through many positions.

Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate: Gers et al. 2000
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.linear import Linear
from components.functional.precision import cast_once
from components.functional.recurrent import States, unroll


@register("attention", "lstm")
class LSTM(nn.Module):
    """LSTM: a memory cell that gates open, write to and read from, one position after the other.

    The gates are those of ``torch.nn.LSTM``, in its order (input, forget, cell, output); its two biases are one here. It reads from left to right,
    in encoders too, and position by position: training takes one small product for each. It is told no positions and needs none.

    Args:
        hidden: channels of the memory; null: d_model.
        forget_bias: added to the forget gate before its sigmoid, so that cells remember at first (Jozefowicz et al. 2015); 0 in ``torch.nn.LSTM``.

    Shapes: (B, T, D) -> (B, T, D).
    """

    provides = ("state",)
    checked_with = ("model.position=none",)
    axes = {"input": ("d_model", "state"), "recurrent": ("state", "state"), "out": ("state", "d_model")}

    def __init__(self, d_model: int, *, hidden: Positive | None = None, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.hidden, self.forget_bias = d_model if hidden is None else hidden, forget_bias
        self.input = Linear(d_model, 4 * self.hidden)
        self.recurrent = Linear(self.hidden, 4 * self.hidden, bias=False)
        self.out = Linear(self.hidden, d_model, bias=False)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        inputs = self.input(cast_once(x))
        precise = inputs.dtype if inputs.dtype == torch.float64 else torch.float32
        empty = inputs.new_zeros(x.shape[0], self.hidden)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        return self.out(unroll(self._cell, inputs, (empty, empty.to(precise)), info, state))

    def _cell(self, y: Tensor, states: States) -> States:
        """States (h, c): what is read, in the dtype of the products, and the memory, in fp32 at least."""
        h, c = states
        i, f, g, o = (y + self.recurrent(h)).to(c.dtype).chunk(4, -1)
        c = torch.sigmoid(f + self.forget_bias) * c + torch.sigmoid(i) * torch.tanh(g)
        return (torch.sigmoid(o) * torch.tanh(c)).to(h.dtype), c
