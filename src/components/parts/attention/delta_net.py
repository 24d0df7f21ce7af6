"""A write first takes away what the key already holds, so that associations are replaced and do not pile up.

Yang et al. 2024, arXiv:2406.06484; Schlag et al. 2021, arXiv:2102.11174; negative eigenvalues: Grazzi et al. 2024, arXiv:2411.12537
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.flops import Flops, Work, children, flops_of
from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional.delta_rule import delta_rule, delta_rule_flops
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._delta import Delta
from components.parts.attention._linear import head_width, kept, recall, unit
from components.parts.attention._positioned import Positioned


@register("attention", "delta_net")
class DeltaNet(Delta, Positioned):
    """DeltaNet: a matrix of associations that each position corrects towards its value, instead of adding to it.

    Reads from left to right whatever ``info.causal`` says, in an encoder too.

    Args:
        expand_k: width of all queries together, in d_model.
        expand_v: width of all values together, in d_model.
        qk_activation: of queries and keys; elu is elu(x) + 1.
        qk_norm: of each head's query and key: l2: to length 1; sum: to sum 1, for activations that are nowhere negative; none.
        use_beta: how much is corrected, sigmoid of a projection for each head; false: all of it.
        conv_size: taps of a short convolution on queries, keys and values, before the activation; null: none.
        position: rotates queries and keys, after their norm. None in the paper.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide the widths, or qk_norm=sum meets an activation with negative values.
    """

    output_gate = "none"

    provides = ("rotates",)
    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "heads"),
        "v": ("d_model", "heads"),
        "b": ("d_model", "heads"),
        "z": ("d_model", "heads"),
        "q_conv": ("heads",),
        "k_conv": ("heads",),
        "v_conv": ("heads",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        *,
        expand_k: PositiveFloat = 1.0,
        expand_v: PositiveFloat = 1.0,
        qk_activation: Literal["silu", "relu", "elu", "identity"] = "silu",
        qk_norm: Literal["l2", "sum", "none"] = "l2",
        use_beta: bool = True,
        position: Maker["position"] = "inherit",
    ) -> None:
        super().__init__()
        n_heads = self.n_heads
        if qk_norm == "sum" and qk_activation in ("silu", "identity"):
            raise ValueError(
                f"qk_norm=sum divides by a sum that may be 0 after qk_activation={qk_activation}; choose relu or elu, or qk_norm=l2"
            )
        self.splits = {"heads": n_heads}
        self.k_width = head_width(d_model, n_heads, expand_k, "expand_k")
        self.v_width = head_width(d_model, n_heads, expand_v, "expand_v")
        self.qk_activation, self.qk_norm = qk_activation, qk_norm
        self.project(d_model, n_heads)
        self.b = Linear(d_model, n_heads, bias=False) if use_beta else None
        self.convolve(self.conv_size, self.conv_bias)
        if self.output_gate != "none":
            self.z = Linear(d_model, n_heads * self.v_width, bias=False)
        self.out = Linear(n_heads * self.v_width, d_model, bias=False)
        self.add_position(position, d_model=d_model, n_heads=n_heads, head_dim=self.k_width, context_length=context_length)
        self.output_norm = make(self.output_norm, "norm", dim=self.v_width)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        q, k, v = self.in_heads(self.convolved(joint_linear(x, (self.q, self.k, self.v)), info, state))
        q, k, v = self.key(q), self.key(k), F.silu(v)
        if self.rotates:
            q, k = self.position.rotate(q, k, info, info)
        beta = torch.ones_like(k[..., 0]) if self.b is None else at_least_fp32(self.b(x)).sigmoid().transpose(1, 2)
        scale = self.k_width**-0.5
        read = recall(delta_rule, at_least_fp32(q) * scale, k, v, beta * self.most, info=info, state=state)
        return self.way_out(read, x, gate=self.output_gate)

    def key(self, y: Tensor) -> Tensor:
        """What queries and keys become (..., K), in fp32 at least."""
        y = at_least_fp32(y)
        if self.qk_activation == "silu":
            y = F.silu(y)
        elif self.qk_activation == "relu":
            y = F.relu(y)
        elif self.qk_activation == "elu":
            y = F.elu(y) + 1.0
        if self.qk_norm == "l2":
            return unit(y)
        return y / (y.sum(-1, keepdim=True) + 1e-6) if self.qk_norm == "sum" else y

    def flops(self, work: Work) -> Flops:
        heads = self.v.out_features // self.v_width
        own = delta_rule_flops(work.length, heads, heads, self.k_width, self.v_width)
        return children(self, work, leave=("position",)) + flops_of(self.position, work) + own
