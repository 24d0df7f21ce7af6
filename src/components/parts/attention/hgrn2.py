"""What a forget gate does not keep is what it writes, so keys need no projection of their own.

Qin et al. 2024, arXiv:2404.07904, section 3; lower bounds of forget gates: Qin et al. 2023 (HGRN), arXiv:2311.04823
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.linear_attention import linear_attention, linear_attention_flops
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._linear import LinearTime, head_width, kept, recall, split_heads


@register("attention", "hgrn2")
class HGRN2(LinearTime):
    """HGRN2: a gated linear recurrence whose keys are what its forget gates leave over.

    Reads from left to right whatever ``info.causal`` says, in an encoder too. The forget gate is b + (1 - b) sigmoid(f), the key 1 - forget gate.
    The bound b grows with depth, from 0 in the first layer, so that later layers remember longer; each layer learns its own from index / count, where
    the paper ties them over the depth by a cumulative softmax that starts at the same values. It takes no position: a rotation shows distances only
    where both channels of a pair forget alike.

    Args:
        n_heads: heads.
        expand_ratio: width of a head's queries and keys; null: d_model / n_heads.
        lower_bound: forget gates have a lower bound, learned for each channel.
        output_norm: of what was read.
        output_norm_over: each head's vector, or all heads together.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model.
    """

    axes = {
        "q": ("d_model", "heads"),
        "f": ("d_model", "heads"),
        "v": ("d_model", "heads"),
        "bound": ("heads",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        n_heads: Positive = 4,
        expand_ratio: Positive | None = None,
        lower_bound: bool = True,
        output_norm: Maker["norm"] = "rms",
        output_norm_over: Literal["head", "full"] = "full",
    ) -> None:
        super().__init__()
        self.v_width = head_width(d_model, n_heads, 1.0, "the width of values,")
        self.k_width = expand_ratio or self.v_width
        self.over = output_norm_over
        self.splits = {"heads": n_heads} if output_norm_over == "head" else {}
        self.first_bound = place.index / place.count if lower_bound and place is not None else 0.0
        self.q, self.f = (Linear(d_model, n_heads * self.k_width, bias=False) for _ in range(2))
        self.v = Linear(d_model, d_model, bias=False)
        self.out = Linear(d_model, d_model, bias=False)
        self.bound = nn.Parameter(torch.empty(n_heads * self.k_width)) if self.first_bound else None
        self.output_norm = make(output_norm, "norm", dim=d_model if self.over == "full" else self.v_width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.bound is not None:
            nn.init.constant_(self.bound, math.log(self.first_bound / (1.0 - self.first_bound)))

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        q, f, v = joint_linear(x, (self.q, self.f, self.v))
        f = at_least_fp32(f)
        g, log_k = F.logsigmoid(f), F.logsigmoid(-f)
        if self.bound is not None:
            bound = self.bound.to(f.dtype)
            rest = F.logsigmoid(-bound)  # log(1 - b)
            g, log_k = torch.logaddexp(F.logsigmoid(bound), rest + g), rest + log_k
        q, k, g = (split_heads(y, self.k_width) for y in (F.silu(q), log_k.exp(), g))
        read = recall(linear_attention, at_least_fp32(q), k, split_heads(v, self.v_width), g, info=info, state=state)
        return self.way_out(read, x, over=self.over)

    def flops(self, work: Work) -> Flops:
        heads = self.v.out_features // self.v_width
        own = linear_attention_flops(work.length, heads, heads, self.k_width, self.v_width, channels=True)
        return children(self, work) + own
