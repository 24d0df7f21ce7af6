"""Without the hidden vector in its gates, the recurrence is linear in time, and a parallel scan computes it.

Feng et al. 2024 (Were RNNs All We Needed?), arXiv:2410.01201, section 3.1 and appendix B.3
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


@register("attention", "min_gru")
class MinGRU(nn.Module):
    """minGRU: a GRU whose gates do not look at the hidden vector, so that all positions are computed at once.

    h = (1 - z) h + z g(c) with z = sigmoid(gate(x)), c = candidate(x) and g positive. It reads from left to right, in encoders too.

    Args:
        hidden: channels of the hidden vector; null: d_model.
        conv_size: taps of a short convolution of the input (4 in the paper's language models); null: none.

    Shapes: (B, T, D) -> (B, T, D).
    """

    checked_with = ("model.position=none",)
    axes = {"gate": ("d_model", "state"), "candidate": ("d_model", "state"), "out": ("state", "d_model"), "conv": ("d_model",)}

    def __init__(self, d_model: int, *, hidden: Positive | None = None, conv_size: Positive | None = None) -> None:
        super().__init__()
        width = d_model if hidden is None else hidden
        self.gate, self.candidate = Linear(d_model, width), Linear(d_model, width)
        self.out = Linear(width, d_model, bias=False)
        self.conv = None if conv_size is None else ShortConvolution(d_model, conv_size, bias=True)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        gate, candidate = joint_linear(convolved(self.conv, x, info, state), (self.gate, self.candidate))
        z = at_least_fp32(gate)
        log_new, log_kept = F.logsigmoid(z), F.logsigmoid(-z)
        h = scan_of(log_kept, log_new + log_positive(at_least_fp32(candidate)), info, state)
        return self.out(h.to(gate.dtype))
