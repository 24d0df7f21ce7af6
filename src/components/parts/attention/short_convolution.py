"""Each channel reads its own last few values and nothing else: a gate before the convolution and a gate after it, both chosen by the input.

Liquid AI 2025 (LFM2), arXiv:2511.23404, section 2; the two gates: Poli et al. 2023 (Hyena), arXiv:2302.10866
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import cast_once
from components.functional.short_convolution import ShortConvolution, short_convolutions
from components.parts.attention._linear import kept


@register("attention", "short_convolution")
class GatedShortConvolution(nn.Module):
    """Gated short convolution: C * conv(B * x), with B, C and x projections of the input; it sees a few positions back.

    It reads from left to right whatever ``info.causal`` says, in an encoder too. It is told no positions and needs none. Beside it some layers of
    attention are usual, which see further: LFM2 has ten of these in sixteen layers.

    Args:
        conv_size: taps of the convolution of each channel: the position itself and conv_size - 1 before it.
        bias: of the projections and of the convolution.

    Shapes: (B, T, D) -> (B, T, D).
    """

    checked_with = ("model.position=none",)
    axes = {
        "B": ("d_model", "state"),
        "C": ("d_model", "state"),
        "x": ("d_model", "state"),
        "conv": ("state",),
        "out": ("state", "d_model"),
    }

    def __init__(self, d_model: int, *, conv_size: Positive = 3, bias: bool = False) -> None:
        super().__init__()
        self.splits = {"state": d_model}
        self.B, self.C, self.x = (Linear(d_model, d_model, bias=bias) for _ in range(3))
        self.conv = ShortConvolution(d_model, conv_size, bias)
        self.out = Linear(d_model, d_model, bias=bias)

    def forward(self, u: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(u, info)
        b, c, x = joint_linear(cast_once(u), (self.B, self.C, self.x))
        (read,) = short_convolutions((b * x,), (self.conv,), info, kept(self, info))
        return self.out(c * read)
