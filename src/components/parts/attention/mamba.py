"""A state space for each channel, whose input, output and step the input chooses, so that it can keep one thing and pass over another.

Gu & Dao 2023, arXiv:2312.00752, sections 3.2 and 3.4; norms of dt, B and C: Lieber et al. 2024 (Jamba), arXiv:2403.19887
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.core.weights import copy_full
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32, cast_once
from components.functional.selective_scan import selective_scan, selective_scan_flops
from components.functional.short_convolution import ShortConvolution, short_convolutions
from components.parts.attention._linear import head_width, inverse_softplus_of_log_spaced, kept, recall


@register("attention", "mamba")
class Mamba(nn.Module):
    """Mamba: a selective state space, with a gate; often the only part of a layer, with ffn=none beside it.

    Each channel has a state of its own: h_t = exp(-exp(A_log) dt_t) h_(t-1) + dt_t B_t x_t and y_t = C_t h_t + D x_t, with dt = softplus(dt_up(dt_down(x)) +
    dt_bias). Reads from left to right whatever ``info.causal`` says, in an encoder too. First values without chance: A_log = log(1 .. state_size), D = 1,
    softplus(dt_bias) from dt_min to dt_max in equal ratios (the paper draws it log-uniformly).

    Args:
        expand: width of x and its states, in d_model.
        state_size: numbers that each channel keeps.
        dt_rank: width of the vector that dt is made from; null: a sixteenth of d_model, rounded up.
        conv_size: taps of the short convolution of x, with silu.
        conv_bias: with a bias.
        bias: of the projections in and out.
        dt_min: least first value of dt.
        dt_max: greatest first value of dt.
        inner_norm: of the vectors that dt, B and C are: none in the paper, rms in Jamba and Falcon Mamba.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if expand * d_model is no whole number.
    """

    checked_with = ("model.position=none",)
    axes = {
        "z": ("d_model", "heads"),
        "x": ("d_model", "heads"),
        "x_conv": ("heads",),
        "dt_down": ("heads", "latent"),
        "B": ("heads", "state"),
        "C": ("heads", "state"),
        "dt_up": ("latent", "heads"),
        "A_log": ("heads",),
        "D": ("heads",),
        "dt_bias": ("heads",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        *,
        expand: PositiveFloat = 2.0,
        state_size: Positive = 16,
        dt_rank: Positive | None = None,
        conv_size: Positive = 4,
        conv_bias: bool = True,
        bias: bool = False,
        dt_min: PositiveFloat = 0.001,
        dt_max: PositiveFloat = 0.1,
        inner_norm: Maker["norm"] = "none",
    ) -> None:
        super().__init__()
        inner, rank = head_width(d_model, 1, expand, "expand"), -(-d_model // 16) if dt_rank is None else dt_rank
        self.dt_range = dt_min, dt_max
        self.z, self.x = (Linear(d_model, inner, bias=bias) for _ in range(2))
        self.x_conv = ShortConvolution(inner, conv_size, conv_bias)
        self.dt_down = Linear(inner, rank, bias=False)
        self.B, self.C = (Linear(inner, state_size, bias=False) for _ in range(2))
        self.dt_norm, self.B_norm, self.C_norm = (make(inner_norm, "norm", dim=n) for n in (rank, state_size, state_size))
        self.dt_up = Linear(rank, inner, bias=False)
        self.A_log = nn.Parameter(torch.empty(inner, state_size))
        self.D, self.dt_bias = (nn.Parameter(torch.empty(inner)) for _ in range(2))
        self.out = Linear(inner, d_model, bias=bias)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        inner, size = self.A_log.shape
        copy_full(self.A_log, torch.arange(1, size + 1, dtype=torch.float64, device="cpu").log().expand(inner, -1))
        nn.init.ones_(self.D)
        copy_full(self.dt_bias, inverse_softplus_of_log_spaced(*self.dt_range, inner))

    def forward(self, u: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(u, info)
        u, state = cast_once(u), kept(self, info)
        z, x = joint_linear(u, (self.z, self.x))
        x = F.silu(short_convolutions((x,), (self.x_conv,), info, state)[0])
        dt, b, c = joint_linear(x, (self.dt_down, self.B, self.C))
        dt, b, c = self.dt_norm(dt), self.B_norm(b), self.C_norm(c)
        x, step = at_least_fp32(x), at_least_fp32(self.dt_up(dt))
        step = F.softplus(step + self.dt_bias.to(step.dtype))
        x, step, b, c = (y.transpose(1, 2) for y in (x, step, b, c))
        read = recall(selective_scan, x, step, -self.A_log.to(x.dtype).exp(), b, c, info=info, state=state)
        y = (read + self.D.to(x.dtype)[:, None] * x).transpose(1, 2) * F.silu(at_least_fp32(z))
        return self.out(y.to(u.dtype))

    def flops(self, work: Work) -> Flops:
        inner, size = self.A_log.shape
        return children(self, work) + selective_scan_flops(work.length, inner, size)
