"""Forget and input gates of an LSTM that add up to 1 and depend on the input alone, so that a parallel scan computes them.

Feng et al. 2024 (Were RNNs All We Needed?), arXiv:2410.01201, section 3.2 and appendix B.3
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.parallel_scan import log_positive, scan_of
from components.functional.precision import at_least_fp32
from components.functional.short_convolution import ShortConvolution
from components.parts.attention._minimal import convolved


@register("attention", "min_lstm")
class MinLSTM(nn.Module):
    """minLSTM: an LSTM whose gates do not look at the hidden vector, so that all positions are computed at once.

    h = f / (f + i) h + i / (f + i) g(c) with f = sigmoid(forget(x)), i = sigmoid(write(x)), c = candidate(x) and g positive. It reads from left to
    right, in encoders too.

    Args:
        hidden: channels of the hidden vector; null: d_model.
        forget_bias: added to the forget gate before its sigmoid.
        conv_size: taps of a short convolution of the input (4 in the paper's language models); null: none.

    Shapes: (B, T, D) -> (B, T, D).
    """

    checked_with = ("model.position=none",)
    axes = {
        "forget": ("d_model", "state"),
        "write": ("d_model", "state"),
        "candidate": ("d_model", "state"),
        "out": ("state", "d_model"),
        "conv": ("d_model",),
    }

    def __init__(
        self, d_model: int, *, hidden: Positive | None = None, forget_bias: float = 0.0, conv_size: Positive | None = None
    ) -> None:
        super().__init__()
        width, self.forget_bias = d_model if hidden is None else hidden, forget_bias
        self.forget, self.write, self.candidate = (Linear(d_model, width) for _ in range(3))
        self.out = Linear(width, d_model, bias=False)
        self.conv = None if conv_size is None else ShortConvolution(d_model, conv_size, bias=True)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        maps = (self.forget, self.write, self.candidate)
        forget, write, candidate = joint_linear(convolved(self.conv, x, info, state), maps)
        # log of f / i, from which both shares follow without a quotient
        odds = F.logsigmoid(at_least_fp32(forget) + self.forget_bias) - F.logsigmoid(at_least_fp32(write))
        h = scan_of(F.logsigmoid(odds), F.logsigmoid(-odds) + log_positive(at_least_fp32(candidate)), info, state)
        return self.out(h.to(forget.dtype))
