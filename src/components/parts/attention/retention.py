"""The decay is fixed per head, from short memories to long ones, as an exponential relative position.

Sun et al. 2023 (RetNet), arXiv:2307.08621, eq. 5-8
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from components.core.flops import Flops, Work, children, flops_of
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.linear_attention import linear_attention, linear_attention_flops
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._linear import FeatureMap, LinearTime, featured, head_width, kept, recall, split_heads
from components.parts.attention._positioned import Positioned


@register("attention", "retention")
class Retention(LinearTime, Positioned):
    """Retention: linear attention whose heads forget at fixed rates, normed head by head and gated.

    Reads from left to right whatever ``info.causal`` says, in an encoder too. Scores are not normed, since the norm of each head takes any scale away.

    Args:
        n_heads: heads.
        expand_k: width of all queries together, in d_model.
        expand_v: width of all values together, in d_model.
        decay_exponent: head h keeps 1 - 2^-(this + h) of its state from one position to the next.
        feature_map: of each head's queries and keys: elu1: elu(x) + 1; relu; softmax over the channels; identity: none, as in the paper. Scores
            that cannot be negative learn to look up in fewer steps.
        position: rotates queries and keys; the paper's is rope.
        output_norm: of each head's vector, with a scale for each head; layer: the paper's group norm.
        output_gate: activation of the gate after the norm, or none.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide the widths.
    """

    provides = ("rotates",)

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        *,
        n_heads: Positive = 4,
        expand_k: PositiveFloat = 1.0,
        expand_v: PositiveFloat = 2.0,
        decay_exponent: PositiveFloat = 5.0,
        feature_map: FeatureMap = "identity",
        position: Maker["position"] = "inherit",
        output_norm: Maker["norm"] = "layer",
        output_gate: Literal["silu", "sigmoid", "none"] = "silu",
    ) -> None:
        super().__init__()
        self.k_width = head_width(d_model, n_heads, expand_k, "expand_k")
        self.v_width = head_width(d_model, n_heads, expand_v, "expand_v")
        self.n_heads, self.decay_exponent, self.output_gate = n_heads, decay_exponent, output_gate
        self.feature_map = feature_map
        self.project(d_model, n_heads)
        if output_gate != "none":
            self.z = Linear(d_model, n_heads * self.v_width, bias=False)
        self.out = Linear(n_heads * self.v_width, d_model, bias=False)
        self.add_position(position, d_model=d_model, n_heads=n_heads, head_dim=self.k_width, context_length=context_length)
        self.output_norm = make(output_norm, "norm", dim=self.v_width, heads=n_heads)

    def log_decays(self, like: Tensor) -> Tensor:
        """(H,)"""
        logs = [math.log1p(-(2.0 ** -(self.decay_exponent + h))) for h in range(self.n_heads)]
        return torch.tensor(logs, dtype=like.dtype, device=like.device)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        q, k, v = joint_linear(x, (self.q, self.k, self.v))
        q, k, v = split_heads(q, self.k_width), split_heads(k, self.k_width), at_least_fp32(split_heads(v, self.v_width))
        q, k = featured(q, self.feature_map), featured(k, self.feature_map)
        if self.rotates:
            q, k = self.position.rotate(q, k, info, info)
        g = self.log_decays(v)[:, None].expand(v.shape[:-1])
        read = recall(linear_attention, at_least_fp32(q) * self.k_width**-0.5, k, v, g, info=info, state=state)
        return self.way_out(read, x, gate=self.output_gate)

    def flops(self, work: Work) -> Flops:
        own = linear_attention_flops(work.length, self.n_heads, self.n_heads, self.k_width, self.v_width)
        return children(self, work, leave=("position",)) + flops_of(self.position, work) + own
