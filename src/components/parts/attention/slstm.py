"""An LSTM whose input gate is exponential, so that what comes later may outweigh all that was written before.

Beck et al. 2024 (xLSTM), arXiv:2405.04517, equations 8 to 18; convolution and norm as in its block, figure 10
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.flops import Flops, Work, both, children
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.core.weights import Experts
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32, cast_once
from components.functional.recurrent import States, unroll
from components.functional.short_convolution import ShortConvolution, short_convolutions
from components.parts.attention._linear import LinearTime, head_width, kept


@register("attention", "slstm")
class ScalarLSTM(LinearTime):
    """sLSTM: c = sigmoid(f) c + exp(i) tanh(z), n alike of ones, and h = sigmoid(o) c / n, normed; all gates look at the h before, each head at its own.

    Exponentials never leave their range: the greatest exponent so far is taken out of c and n. It reads from left to right, in encoders too, and position by
    position: training takes one small product for each. It is told no positions and needs none.

    Args:
        hidden: channels of the memory; null: d_model.
        n_heads: blocks of the recurrent matrix.
        conv_size: taps of a short convolution, with silu, of what the input and forget gates read (4 in the paper's block); null: none.
        forget_bias: added to the forget gate before its sigmoid, so that cells remember at first.
        output_norm: of each head's vector, with a scale of each head's own.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide hidden.
    """

    provides = ("state",)
    checked_with = ("model.position=none",)
    axes = {
        "z": ("d_model", "heads"),
        "o": ("d_model", "heads"),
        "i": ("d_model", "heads"),
        "f": ("d_model", "heads"),
        "recurrent": ("heads", "head_dim", "head_dim"),
        "conv": ("d_model",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        *,
        hidden: Positive | None = None,
        n_heads: Positive = 4,
        conv_size: Positive | None = None,
        forget_bias: float = 3.0,
        output_norm: Maker["norm"] = "layer",
    ) -> None:
        super().__init__()
        width = d_model if hidden is None else hidden
        self.head_dim, self.forget_bias = head_width(width, n_heads, 1.0, "hidden"), forget_bias
        # a bias of the input gate would weigh all that is ever written alike, and so change nothing
        self.z, self.o, self.i, self.f = (Linear(d_model, width, bias=gate != "i") for gate in "zoif")
        self.recurrent = Experts(n_heads, self.head_dim, 4 * self.head_dim)
        self.conv = None if conv_size is None else ShortConvolution(d_model, conv_size, bias=True)
        self.out = Linear(width, d_model, bias=False)
        self.output_norm = make(output_norm, "norm", dim=self.head_dim, heads=n_heads)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        told = x
        if self.conv is not None:
            told = F.silu(short_convolutions((x,), (self.conv,), info, state)[0])
        gates = *joint_linear(x, (self.z, self.o)), *joint_linear(told, (self.i, self.f))
        inputs = torch.cat([g.unflatten(-1, (-1, self.head_dim)) for g in gates], -1).flatten(
            2
        )  # the four of a head side by side
        empty = inputs.new_zeros(x.shape[0], gates[0].shape[-1])
        precise = at_least_fp32(empty)
        read = unroll(self._cell, inputs, (empty, precise, precise, precise), info, state)
        return self.way_out(read.unflatten(-1, (-1, self.head_dim)).transpose(1, 2), x)

    def _cell(self, y: Tensor, states: States) -> States:
        """States (h, c, n, m): what is read, in the dtype of the products, and memory, sum of weights and greatest exponent, in fp32 at least."""
        h, c, n, m = states
        heads = h.unflatten(-1, (-1, self.head_dim))
        asked = self.recurrent(heads.transpose(0, 1)).transpose(0, 1) + y.unflatten(-1, (-1, 4 * self.head_dim))
        z, o, i, f = (part.flatten(1) for part in asked.to(c.dtype).chunk(4, -1))
        f = F.logsigmoid(f + self.forget_bias)
        with torch.no_grad():  # nothing depends on it
            after = torch.where(
                n == 0, i, torch.maximum(f + m, i)
            )  # where nothing was written yet the first exponent is its own
        keep, write = (f + m - after).clamp(max=0.0).exp(), (i - after).exp()
        c, n = keep * c + write * torch.tanh(z), keep * n + write
        return (torch.sigmoid(o) * c / n).to(h.dtype), c, n, after

    def flops(self, work: Work) -> Flops:
        heads = self.recurrent.weight.shape[0]
        return children(self, work) + both(2 * heads * 4 * self.head_dim**2 * work.length)
