"""A linear recurrence with a decay per channel, written in chunks so that it is matrix products.

Yang et al. 2023, arXiv:2312.06635, section 4
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.linear_attention import linear_attention, linear_attention_flops
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._linear import FeatureMap, LinearTime, featured, head_width, kept, recall, split_heads


@register("attention", "gla")
class GatedLinearAttention(LinearTime):
    """Gated linear attention: every channel of the state forgets at a rate that the input chooses.

    Reads from left to right whatever ``info.causal`` says, in an encoder too. It takes no position: a rotation
    shows distances only where both channels of a pair forget alike.

    Args:
        n_heads: heads.
        expand_k: width of all queries together, in d_model.
        expand_v: width of all values together, in d_model.
        gate_low_rank_dim: rank of the projection to decays.
        gate_logit_normalizer: decays are sigmoid(logit)^(1 / this): the greater, the longer a channel remembers.
        feature_map: of each head's queries and keys: elu1: elu(x) + 1; relu; softmax over the channels; identity: none, as in the paper. Scores
            that cannot be negative learn to look up in fewer steps.
        conv_size: taps of a short convolution, with silu, on queries, keys and values; null: none.
        output_norm: of each head's vector.
        output_gate: activation of the gate after the norm, or none.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide the widths.
    """

    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "heads"),
        "v": ("d_model", "heads"),
        "z": ("d_model", "heads"),
        "decay_down": ("d_model", "latent"),
        "decay_up": ("latent", "heads"),
        "q_conv": ("heads",),
        "k_conv": ("heads",),
        "v_conv": ("heads",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        *,
        n_heads: Positive = 4,
        expand_k: PositiveFloat = 0.5,
        expand_v: PositiveFloat = 1.0,
        gate_low_rank_dim: Positive = 16,
        gate_logit_normalizer: PositiveFloat = 16.0,
        feature_map: FeatureMap = "identity",
        conv_size: Positive | None = None,
        output_norm: Maker["norm"] = "rms",
        output_gate: Literal["silu", "sigmoid", "none"] = "silu",
    ) -> None:
        super().__init__()
        self.splits = {"heads": n_heads}
        self.k_width = head_width(d_model, n_heads, expand_k, "expand_k")
        self.v_width = head_width(d_model, n_heads, expand_v, "expand_v")
        self.output_gate, self.gate_logit_normalizer, self.feature_map = output_gate, gate_logit_normalizer, feature_map
        self.project(d_model, n_heads)
        self.decay_down = Linear(d_model, gate_low_rank_dim, bias=False)
        self.decay_up = Linear(gate_low_rank_dim, n_heads * self.k_width)
        self.convolve(conv_size)
        if output_gate != "none":
            self.z = Linear(d_model, n_heads * self.v_width, bias=False)
        self.out = Linear(n_heads * self.v_width, d_model, bias=False)
        self.output_norm = make(output_norm, "norm", dim=self.v_width)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        parts = self.convolved(joint_linear(x, (self.q, self.k, self.v)), info, state)
        q, k, v = self.in_heads(parts if self.conv_size is None else map(F.silu, parts))
        q, k = featured(q, self.feature_map), featured(k, self.feature_map)
        logits = at_least_fp32(self.decay_up(self.decay_down(x)))
        g = split_heads(F.logsigmoid(logits) / self.gate_logit_normalizer, self.k_width)
        read = recall(linear_attention, at_least_fp32(q) * self.k_width**-0.5, k, v, g, info=info, state=state)
        return self.way_out(read, x, gate=self.output_gate)

    def flops(self, work: Work) -> Flops:
        heads = self.v.out_features // self.v_width
        own = linear_attention_flops(work.length, heads, heads, self.k_width, self.v_width, channels=True)
        return children(self, work) + own
