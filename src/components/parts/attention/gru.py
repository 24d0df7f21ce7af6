"""A recurrence of two gates: how much of the past the new content sees, and how much of the past stays.

Cho et al. 2014, arXiv:1406.1078; reset after the product, as in cuDNN and ``torch.nn.GRU``
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


@register("attention", "gru")
class GRU(nn.Module):
    """GRU: one hidden vector, of which a gate keeps a part and replaces the rest, one position after the other.

    The gates are those of ``torch.nn.GRU``, in its order (reset, update, new), with its two biases. It reads from left to right, in encoders too,
    and position by position: training takes one small product for each. It is told no positions and needs none.

    Args:
        hidden: channels of the hidden vector; null: d_model.

    Shapes: (B, T, D) -> (B, T, D).
    """

    provides = ("state",)
    checked_with = ("model.position=none",)
    axes = {"input": ("d_model", "state"), "recurrent": ("state", "state"), "out": ("state", "d_model")}

    def __init__(self, d_model: int, *, hidden: Positive | None = None) -> None:
        super().__init__()
        self.hidden = d_model if hidden is None else hidden
        self.input = Linear(d_model, 3 * self.hidden)
        self.recurrent = Linear(self.hidden, 3 * self.hidden)
        self.out = Linear(self.hidden, d_model, bias=False)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        inputs = self.input(cast_once(x))
        precise = inputs.dtype if inputs.dtype == torch.float64 else torch.float32
        empty = torch.zeros(x.shape[0], self.hidden, dtype=precise, device=x.device)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        return self.out(unroll(self._cell, inputs, (empty,), info, state).to(inputs.dtype))

    def _cell(self, y: Tensor, states: States) -> States:
        """The hidden vector, carried on in fp32 at least: a gate near 1 keeps it for long."""
        (h,) = states
        r, z, n = y.to(h.dtype).chunk(3, -1)
        r_h, z_h, n_h = self.recurrent(h.to(y.dtype)).to(h.dtype).chunk(3, -1)
        kept = torch.sigmoid(z + z_h)
        return ((1 - kept) * torch.tanh(n + torch.sigmoid(r + r_h) * n_h) + kept * h,)
