"""State-space duality: a selective state space with one decay per head is linear attention with a mask of decays.

Dao & Gu 2024, arXiv:2405.21060, section 7 (the block) and listing 1 (chunks)
"""

from __future__ import annotations

from typing import Literal

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
from components.functional.linear_attention import linear_attention, linear_attention_flops
from components.functional.precision import at_least_fp32, cast_once
from components.functional.short_convolution import ShortConvolution, short_convolutions
from components.parts.attention._linear import head_width, inverse_softplus_of_log_spaced, kept, recall, split_heads


@register("attention", "mamba2")
class Mamba2(nn.Module):
    """Mamba-2: a state space whose input, output and rate of forgetting the input chooses, computed as gated linear attention.

    S_t = exp(-exp(A_log) dt_t) S_(t-1) + B_t^T dt_t x_t and y_t = C_t S_t + D x_t, with dt = softplus(dt(u) + dt_bias). Reads from left to right whatever
    ``info.causal`` says, in an encoder too. First values without chance: A_log = log(1 .. n_heads), D = 1, softplus(dt_bias) from dt_min to dt_max in
    equal ratios (the paper draws it log-uniformly).

    Args:
        n_heads: heads; each is expand * d_model / n_heads wide.
        expand: width of all heads together, in d_model.
        state_size: width of B and C, which write and read the state.
        n_groups: sets of B and C; each serves n_heads / n_groups heads.
        conv_size: taps of the short convolution, with silu, on x, B and C.
        conv_bias: with a bias.
        bias: of the projections in and out; dt has dt_bias besides.
        dt_min: least first value of dt.
        dt_max: greatest first value of dt.
        dt_limit: dt is clamped between these; null: it is not.
        output_norm: of what was read.
        output_norm_over: the heads of a group, as published, or all together, as Bamba and Granite 4 have it.
        norm_before_gate: silu(z) multiplies after the norm; false: before it, as published.
        multipliers: factors on z, x, B, C and dt as they are projected, as Falcon-H1 has them; null: none.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide expand * d_model, or n_groups not n_heads.
    """

    axes = {
        "z": ("d_model", "heads"),
        "x": ("d_model", "heads"),
        "B": ("d_model", "state"),
        "C": ("d_model", "state"),
        "dt": ("d_model", "heads"),
        "x_conv": ("heads",),
        "B_conv": ("state",),
        "C_conv": ("state",),
        "A_log": ("heads",),
        "D": ("heads",),
        "dt_bias": ("heads",),
        "out": ("heads", "d_model"),
    }

    z: nn.Linear
    x: nn.Linear
    B: nn.Linear
    C: nn.Linear
    dt: nn.Linear

    def __init__(
        self,
        d_model: int,
        *,
        n_heads: Positive = 4,
        expand: PositiveFloat = 2.0,
        state_size: Positive = 64,
        n_groups: Positive = 1,
        conv_size: Positive = 4,
        conv_bias: bool = True,
        bias: bool = False,
        dt_min: PositiveFloat = 0.001,
        dt_max: PositiveFloat = 0.1,
        dt_limit: tuple[float, float] | None = None,
        output_norm: Maker["norm"] = "rms",
        output_norm_over: Literal["full", "group"] = "group",
        norm_before_gate: bool = False,
        multipliers: tuple[float, float, float, float, float] | None = None,
    ) -> None:
        super().__init__()
        self.head_dim = head_width(d_model, n_heads, expand, "expand")
        if n_heads % n_groups:
            raise ValueError(f"n_groups={n_groups} does not divide n_heads={n_heads}")
        inner, states = n_heads * self.head_dim, n_groups * state_size
        self.state_size, self.n_groups, self.dt_range, self.dt_limit = state_size, n_groups, (dt_min, dt_max), dt_limit
        self.by_group, self.norm_before_gate = output_norm_over == "group" and n_groups > 1, norm_before_gate
        self.multipliers = multipliers
        for name, width in (("z", inner), ("x", inner), ("B", states), ("C", states), ("dt", n_heads)):
            setattr(self, name, Linear(d_model, width, bias=bias))
        self.x_conv, self.B_conv, self.C_conv = (ShortConvolution(c, conv_size, conv_bias) for c in (inner, states, states))
        self.A_log, self.D, self.dt_bias = (nn.Parameter(torch.empty(n_heads)) for _ in range(3))
        sizes = {"dim": inner // n_groups, "heads": n_groups} if self.by_group else {"dim": inner}
        self.output_norm = make(output_norm, "norm", **sizes)
        self.out = Linear(inner, d_model, bias=bias)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        count = self.A_log.shape[0]
        copy_full(self.A_log, torch.arange(1, count + 1, dtype=torch.float64, device="cpu").log())
        nn.init.ones_(self.D)
        copy_full(self.dt_bias, inverse_softplus_of_log_spaced(*self.dt_range, count))

    def forward(self, u: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(u, info)
        u, state = cast_once(u), kept(self, info)
        projected = joint_linear(u, (self.z, self.x, self.B, self.C, self.dt))
        if self.multipliers is not None:
            projected = [factor * y for factor, y in zip(self.multipliers, projected, strict=True)]
        z, *parts, dt = projected
        x, b, c = (F.silu(y) for y in short_convolutions(parts, (self.x_conv, self.B_conv, self.C_conv), info, state))
        x, b, c = (
            at_least_fp32(split_heads(y, w)) for y, w in ((x, self.head_dim), (b, self.state_size), (c, self.state_size))
        )
        dt = F.softplus(at_least_fp32(dt) + self.dt_bias.to(x.dtype))
        if self.dt_limit is not None:
            dt = dt.clamp(*self.dt_limit)
        dt = dt.transpose(1, 2)
        g = -self.A_log.to(x.dtype).exp()[:, None] * dt
        y = recall(linear_attention, c, b, x * dt[..., None], g, info=info, state=state) + self.D.to(x.dtype)[:, None, None] * x
        y, gate = y.transpose(1, 2).flatten(2), F.silu(at_least_fp32(z))
        y = self.normed(y).to(u.dtype) * gate.to(u.dtype) if self.norm_before_gate else self.normed(y * gate).to(u.dtype)
        return self.out(y)

    def normed(self, y: Tensor) -> Tensor:
        """(B, T, inner) -> the same."""
        return self.output_norm(y.unflatten(-1, (self.n_groups, -1))).flatten(2) if self.by_group else self.output_norm(y)

    def flops(self, work: Work) -> Flops:
        heads = self.x.out_features // self.head_dim
        return children(self, work) + linear_attention_flops(work.length, self.n_groups, heads, self.state_size, self.head_dim)
