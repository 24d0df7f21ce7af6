"""The two ways of clearing a state in one rule: forget all of it a little (Mamba-2), or replace one association (DeltaNet).

Yang et al. 2024, arXiv:2412.06464; with grouped values as in Qwen3-Next 2025; negative eigenvalues: Grazzi et al. 2024, arXiv:2411.12537
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, children, flops_of
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.core.weights import copy_full
from components.functional.delta_rule import delta_rule, delta_rule_flops
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._delta import Delta
from components.parts.attention._linear import (
    head_width,
    inverse_softplus_of_log_spaced,
    kept,
    middles,
    recall,
    unit,
)
from components.parts.attention._positioned import Positioned


@register("attention", "gated_delta_net")
class GatedDeltaNet(Delta, Positioned):
    """Gated DeltaNet: the delta rule on a state that forgets, at a rate that the input chooses for each head.

    Reads from left to right whatever ``info.causal`` says, in an encoder too. The log of the decay is -exp(A_log) softplus(a + dt_bias), the share of
    the error that is corrected sigmoid(b), a and b projections of the input. First values without chance: exp(A_log) evenly between 0 and 16, middles
    of equal parts, softplus(dt_bias) from 0.001 to 0.1 in equal ratios (the papers draw both from these ranges).

    Args:
        n_heads: heads of queries and keys.
        n_v_heads: heads of values, a multiple of n_heads; null: n_heads.
        head_dim: width of a query and key; null: d_model / n_heads.
        head_v_dim: width of a value; null: 2 head_dim.
        position: rotates queries and keys, after they were brought to length 1. None in the paper and in Qwen3-Next.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide n_v_heads, nor d_model (without head_dim).
    """

    provides = ("rotates",)
    axes = {
        "q": ("d_model", "kv_heads"),
        "k": ("d_model", "kv_heads"),
        "v": ("d_model", "heads"),
        "z": ("d_model", "heads"),
        "a": ("d_model", "heads"),
        "b": ("d_model", "heads"),
        "A_log": ("heads",),
        "dt_bias": ("heads",),
        "q_conv": ("kv_heads",),
        "k_conv": ("kv_heads",),
        "v_conv": ("heads",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        *,
        n_v_heads: Positive | None = None,
        head_dim: Positive | None = None,
        head_v_dim: Positive | None = None,
        position: Maker["position"] = "inherit",
    ) -> None:
        super().__init__()
        n_heads = self.n_heads
        v_heads = n_heads if n_v_heads is None else n_v_heads
        if v_heads % n_heads:
            raise ValueError(f"n_v_heads={v_heads} is no multiple of n_heads={n_heads}: each key serves equally many values")
        self.k_width = head_dim or head_width(d_model, n_heads, 1.0, "head_dim")
        self.v_width = head_v_dim or 2 * self.k_width
        self.splits = {"heads": v_heads, **({"kv_heads": n_heads} if n_heads > 1 else {})}
        self.project(d_model, n_heads, v_heads)
        self.a, self.b = (Linear(d_model, v_heads, bias=False) for _ in range(2))
        if self.output_gate != "none":
            self.z = Linear(d_model, v_heads * self.v_width, bias=False)
        self.convolve(self.conv_size, self.conv_bias)
        self.A_log, self.dt_bias = (nn.Parameter(torch.empty(v_heads)) for _ in range(2))
        self.out = Linear(v_heads * self.v_width, d_model, bias=False)
        self.add_position(position, d_model=d_model, n_heads=n_heads, head_dim=self.k_width, context_length=context_length)
        self.output_norm = make(self.output_norm, "norm", dim=self.v_width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        count = self.A_log.shape[0]
        copy_full(self.A_log, middles(0.0, 16.0, count).log())
        copy_full(self.dt_bias, inverse_softplus_of_log_spaced(0.001, 0.1, count))

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        *parts, a, b = joint_linear(x, (self.q, self.k, self.v, self.a, self.b))
        q, k, v = self.in_heads(map(F.silu, self.convolved(parts, info, state)))
        q, k = unit(q), unit(k)
        if self.rotates:
            q, k = self.position.rotate(q, k, info, info)
        a, b = at_least_fp32(a), at_least_fp32(b)
        g = -self.A_log.to(a.dtype).exp() * F.softplus(a + self.dt_bias.to(a.dtype))
        beta = b.sigmoid() * self.most
        scale = self.k_width**-0.5
        read = recall(
            delta_rule, at_least_fp32(q) * scale, k, v, beta.transpose(1, 2), g.transpose(1, 2), info=info, state=state
        )
        return self.way_out(read, x, gate=self.output_gate)

    def flops(self, work: Work) -> Flops:
        groups, heads = self.k.out_features // self.k_width, self.v.out_features // self.v_width
        own = delta_rule_flops(work.length, groups, heads, self.k_width, self.v_width)
        return children(self, work, leave=("position",)) + flops_of(self.position, work) + own
