"""The decay is fixed per head and per layer: early layers forget fast and late ones nearly nothing, with ALiBi's slopes as rates.

Qin et al. 2024 (Lightning Attention-2), arXiv:2401.04658; the rates: Qin et al. 2023 (TransNormerLLM), arXiv:2307.14995; activations, norm and gate: MiniMax
2025 (MiniMax-01), arXiv:2501.08313
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make
from components.functional.activations import ACTIVATIONS, Activation
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.linear_attention import linear_attention, linear_attention_flops
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._linear import LinearTime, kept, recall, split_heads
from components.parts.attention._softmax import head_width

NEARLY = 1e-5  # keeps the last layer's rate above 0


@register("attention", "lightning")
class Lightning(LinearTime):
    """Lightning attention: linear attention whose heads forget at fixed rates, slower from layer to layer, normed over all heads and gated.

    S_t = exp(-rate) S_(t-1) + k_t^T v_t and o_t = q_t S_t, where head h of H in layer l of L has rate 2^(-8 (h + 1) / H) (1 - l / (L - 1)), h and l from 0.
    Reads from left to right whatever ``info.causal`` says, in an encoder too. It is told no positions: the decay says how far back something was.
    Scores are not divided, since the norm takes any scale away.

    Args:
        n_heads: heads.
        head_dim: width of a head; null: d_model / n_heads.
        activation: of queries, keys and values.
        output_norm: of all heads' vectors together.
        output_gate: activation of the gate after the norm, or none.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model, without head_dim.
    """

    checked_with = ("model.position=none",)

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        n_heads: Positive = 4,
        head_dim: Positive | None = None,
        activation: Activation = "silu",
        output_norm: Maker["norm"] = "rms",
        output_gate: Literal["sigmoid", "silu", "none"] = "sigmoid",
    ) -> None:
        super().__init__()
        self.n_heads, self.head_dim, self.output_gate = n_heads, head_width(d_model, n_heads, head_dim), output_gate
        self.bend, self.place = ACTIVATIONS[activation], place or Place(0, 1)
        width = n_heads * self.head_dim
        self.q, self.k, self.v = (Linear(d_model, width, bias=False) for _ in range(3))
        if output_gate != "none":
            self.z = Linear(d_model, width, bias=False)
        self.out = Linear(width, d_model, bias=False)
        self.output_norm = make(output_norm, "norm", dim=width)

    def rates(self, like: Tensor) -> Tensor:
        """(H,)"""
        share = 1 - self.place.index / (self.place.count - 1 + NEARLY) + NEARLY
        slopes = [2.0 ** (-8 * (h + 1) / self.n_heads) * share for h in range(self.n_heads)]
        return torch.tensor(slopes, dtype=like.dtype, device=like.device)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        projected = joint_linear(x, (self.q, self.k, self.v))
        q, k, v = (at_least_fp32(split_heads(self.bend(y), self.head_dim)) for y in projected)
        g = -self.rates(v)[:, None].expand(v.shape[:-1])
        read = recall(linear_attention, q, k, v, g, info=info, state=state)
        return self.way_out(read, x, over="full", gate=self.output_gate)

    def flops(self, work: Work) -> Flops:
        own = linear_attention_flops(work.length, self.n_heads, self.n_heads, self.head_dim, self.head_dim)
        return children(self, work) + own
