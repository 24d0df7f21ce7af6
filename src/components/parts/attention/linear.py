"""A kernel in place of the softmax: scores are products of features of query and key, and sums over the past can be kept.

Katharopoulos et al. 2020, arXiv:2006.16236, eq. 5 and 9; Taylor features: Arora et al. 2024 (Based), arXiv:2402.18668; DPFP: Schlag et al. 2021, arXiv:2102.11174
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.flops import Flops, Work, children, flops_of
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional import watch
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.linear_attention import linear_attention, linear_attention_flops
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._linear import LinearTime, featured, head_width, kept, recall, split_heads
from components.parts.attention._positioned import Positioned


@register("attention", "linear")
class LinearAttention(LinearTime, Positioned):
    """Linear attention: softmax's exponential replaced by a product of features, so that the past fits into one matrix.

    Reads from left to right whatever ``info.causal`` says, in an encoder too.

    Args:
        n_heads: heads.
        head_dim: width of a head's values; null: d_model / n_heads.
        feature_dim: width of a head's queries and keys before the feature map; null: head_dim.
        feature_map: elu1: elu(x) + 1; relu; identity; softmax over the channels; taylor: 1, x and all products of two channels, whose dot product is the second
            Taylor polynomial of exp (feature_dim^2 + feature_dim + 1 features: keep it at about 16); dpfp: products of neighbours in (relu(x), relu(-x)).
        normalise: divide by the sum of weights, as softmax does; without it the sum is scaled by 1 / sqrt(features).
        eps: added to the sum of weights.
        position: rotates features, while the sum of weights is of those that are not rotated (RoFormer, arXiv:2104.09864, eq. 19); with taylor, whose
            products depend on those of queries and keys alone, queries and keys themselves.
        output_norm: of each head's vector.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model (without head_dim), or a normalised map has weights that may sum to 0: identity, and
        relu and dpfp with a rotation.
    """

    provides = ("rotates",)
    axes = {"q": ("d_model", "heads"), "k": ("d_model", "heads"), "v": ("d_model", "heads"), "out": ("heads", "d_model")}

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        *,
        n_heads: Positive = 4,
        head_dim: Positive | None = None,
        feature_dim: Positive | None = None,
        feature_map: Literal["elu1", "relu", "identity", "softmax", "taylor", "dpfp"] = "elu1",
        normalise: bool = True,
        eps: PositiveFloat = 1e-6,
        position: Maker["position"] = "inherit",
        output_norm: Maker["norm"] = "none",
    ) -> None:
        super().__init__()
        if normalise and feature_map == "identity":
            raise ValueError(
                "feature_map=identity gives weights of both signs, whose sum may be 0; choose normalise=false or another map"
            )
        self.splits = {"heads": n_heads}
        self.head_dim = head_dim or head_width(d_model, n_heads, 1.0, "head_dim")
        self.width = feature_dim or self.head_dim
        self.feature_map, self.normalise, self.eps = feature_map, normalise, eps
        self.q = Linear(d_model, n_heads * self.width, bias=False)
        self.k = Linear(d_model, n_heads * self.width, bias=False)
        self.v = Linear(d_model, n_heads * self.head_dim, bias=False)
        self.out = Linear(n_heads * self.head_dim, d_model, bias=False)
        self.features = {"taylor": self.width**2 + self.width + 1, "dpfp": 2 * self.width}.get(feature_map, self.width)
        turned = self.width if feature_map == "taylor" else self.features
        self.add_position(position, d_model=d_model, n_heads=n_heads, head_dim=turned, context_length=context_length)
        self.rotates_first, self.rotates_features = (
            self.rotates and (feature_map == "taylor") is first for first in (True, False)
        )
        if normalise and self.rotates_features and feature_map in ("relu", "dpfp"):
            raise ValueError(
                f"feature_map={feature_map} gives sums of weights that may be 0 where the rotated sum is not; "
                "choose normalise=false, position=none, or a map that is positive"
            )
        self.output_norm = make(output_norm, "norm", dim=self.head_dim)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        q, k, v = joint_linear(x, (self.q, self.k, self.v))
        q, k, v = split_heads(q, self.width), split_heads(k, self.width), split_heads(v, self.head_dim)
        if self.rotates_first:
            q, k = self.position.rotate(q, k, info, info)
        q, k, v = self.mapped(q), self.mapped(k), at_least_fp32(v)
        turned = self.position.rotate(q, k, info, info) if self.rotates_features else (q, k)
        if not self.normalise:
            q, k = turned
            return self.way_out(recall(linear_attention, q * self.features**-0.5, k, v, info=info, state=state), x)
        ones = torch.ones_like(v[..., :1])  # a value of 1 sums the weights
        if self.rotates_features:
            total = recall(linear_attention, q, k, ones, info=info, state=state, name="weights")
            read = recall(linear_attention, *turned, v, info=info, state=state)
        else:
            read, total = recall(linear_attention, q, k, torch.cat((v, ones), -1), info=info, state=state).split(
                (self.head_dim, 1), -1
            )
        if watch.sink is not None:
            watch.sink("divided", total=total + self.eps)
        return self.way_out(read / (total + self.eps), x)

    def mapped(self, y: Tensor) -> Tensor:
        """(..., K) -> (..., features) in fp32 at least."""
        y = at_least_fp32(y)
        if self.feature_map == "taylor":
            y = y * self.width**-0.25
            pairs = (y[..., :, None] * y[..., None, :]).flatten(-2) * 0.5**0.5
            return torch.cat((torch.ones_like(y[..., :1]), y, pairs), -1)
        if self.feature_map == "dpfp":
            y = torch.cat((F.relu(y), F.relu(-y)), -1)
            return y * y.roll(1, -1)
        return featured(y, self.feature_map)

    def flops(self, work: Work) -> Flops:
        heads = self.v.out_features // self.head_dim
        sizes = (work.length, heads, heads, self.features)
        if not self.normalise:
            own = linear_attention_flops(*sizes, self.head_dim)
        elif self.rotates_features:
            own = linear_attention_flops(*sizes, self.head_dim) + linear_attention_flops(*sizes, 1)
        else:
            own = linear_attention_flops(*sizes, self.head_dim + 1)
        return children(self, work, leave=("position",)) + flops_of(self.position, work) + own
