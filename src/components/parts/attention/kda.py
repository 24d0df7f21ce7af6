"""The gated delta rule with a rate of forgetting for every channel of the key, where Gated DeltaNet has one for a head.

Kimi Team 2025 (Kimi Linear), arXiv:2510.26692, section 4; negative eigenvalues: Grazzi et al. 2024, arXiv:2411.12537
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, info_of, make
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
    split_heads,
    unit,
)


@register("attention", "kda")
class KimiDeltaAttention(Delta):
    """Kimi delta attention: the delta rule on a state of which every channel forgets at a rate that the input chooses.

    Reads from left to right whatever ``info.causal`` says, in an encoder too. It takes no position: a rotation shows distances only where both
    channels of a pair forget alike. The log of the decay is -exp(A_log) softplus(f + dt_bias), f a low-rank projection of the input to each channel;
    the share of the error that is corrected is sigmoid(b). First values without chance: exp(A_log) evenly between 1 and 16, middles of equal parts,
    softplus(dt_bias) from 0.001 to 0.1 in equal ratios over each head's channels (the paper's code draws both from these ranges).

    Args:
        head_dim: width of a query and key; null: d_model / n_heads.
        head_v_dim: width of a value; null: head_dim.
        gate_low_rank_dim: rank of the projections to the decays and to the output gate; null: head_dim.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model (without head_dim).
    """

    output_gate = "sigmoid"

    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "heads"),
        "v": ("d_model", "heads"),
        "b": ("d_model", "heads"),
        "decay_down": ("d_model", "latent"),
        "decay_up": ("latent", "heads"),
        "z_down": ("d_model", "latent"),
        "z_up": ("latent", "heads"),
        "A_log": ("heads",),
        "dt_bias": ("heads",),
        "q_conv": ("heads",),
        "k_conv": ("heads",),
        "v_conv": ("heads",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        *,
        head_dim: Positive | None = None,
        head_v_dim: Positive | None = None,
        gate_low_rank_dim: Positive | None = None,
    ) -> None:
        super().__init__()
        n_heads = self.n_heads
        self.splits = {"heads": n_heads}
        self.k_width = head_dim or head_width(d_model, n_heads, 1.0, "head_dim")
        self.v_width, rank = head_v_dim or self.k_width, gate_low_rank_dim or self.k_width
        keys, values = n_heads * self.k_width, n_heads * self.v_width
        self.project(d_model, n_heads)
        self.b = Linear(d_model, n_heads, bias=False)
        self.decay_down, self.decay_up = Linear(d_model, rank, bias=False), Linear(rank, keys, bias=False)
        if self.output_gate != "none":
            self.z_down, self.z_up = Linear(d_model, rank, bias=False), Linear(rank, values, bias=False)
        self.convolve(self.conv_size, self.conv_bias)
        self.A_log, self.dt_bias = nn.Parameter(torch.empty(n_heads)), nn.Parameter(torch.empty(keys))
        self.out = Linear(values, d_model, bias=False)
        self.output_norm = make(self.output_norm, "norm", dim=self.v_width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        count = self.A_log.shape[0]
        copy_full(self.A_log, middles(1.0, 16.0, count).log())
        copy_full(self.dt_bias, inverse_softplus_of_log_spaced(0.001, 0.1, self.k_width).repeat(count))

    def gate_of(self, x: Tensor) -> Tensor:
        return self.z_up(self.z_down(x))

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        *parts, b, rates = joint_linear(x, (self.q, self.k, self.v, self.b, self.decay_down))
        q, k, v = self.in_heads(map(F.silu, self.convolved(parts, info, state)))
        q, k, rates = unit(q), unit(k), at_least_fp32(self.decay_up(rates))
        g = split_heads(F.softplus(rates + self.dt_bias.to(rates.dtype)), self.k_width)
        g = -self.A_log.to(g.dtype).exp()[:, None, None] * g
        beta = at_least_fp32(b).sigmoid().transpose(1, 2) * self.most
        read = recall(delta_rule, at_least_fp32(q) * self.k_width**-0.5, k, v, beta, g, info=info, state=state)
        return self.way_out(read, x, gate=self.output_gate)

    def flops(self, work: Work) -> Flops:
        heads = self.v.out_features // self.v_width
        return children(self, work) + delta_rule_flops(work.length, heads, heads, self.k_width, self.v_width, channels=True)
