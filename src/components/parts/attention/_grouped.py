"""Heads of queries that share heads of keys and values, and how they read: what self-attention and cross attention have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from components.core.contracts import Gate, Norm
from components.core.options import Options
from components.core.signature import Positive, PositiveFloat, Probability
from components.core.sockets import Maker, Place, SequenceInfo, make
from components.functional.attention import attend
from components.functional.attention_mask import MaskSpec
from components.functional.linear import Linear
from components.parts.attention._softmax import head_width, kv_heads_of

PROJECTIONS = ("q", "k", "v", "out")


class GroupedHeads(Options, nn.Module):
    """Projections, norms of queries and keys, and the read; who inherits says where keys and values come from.

    Args:
        n_heads: heads of queries.
        qk_norm: norm of queries and keys.
        qk_norm_over: each head's vector with one scale for all heads (head), with a scale per head (per_head_weight), or all heads together (full).
        qk_norm_at: before or after the rotation.
        bias: which of the projections q, k, v, out have a bias.
        scale_by_layer: divides the factor on scores by the layer's number, from 1 (an option of GPT-2).
        soft_cap: c in c * tanh(score / c).
        sinks: a learned logit per head that takes weight and gives nothing.
        clip: queries, keys and values are clamped to +- this.
        dropout: probability of dropping an attention weight.
    """

    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "kv_heads"),
        "v": ("d_model", "kv_heads"),
        "out": ("heads", "d_model"),
        "sink": ("heads",),
    }

    n_heads: Positive = 4
    qk_norm: Maker["norm"] = "none"
    qk_norm_over: Literal["head", "per_head_weight", "full"] = "head"
    qk_norm_at: Literal["before", "after"] = "before"
    bias: tuple[str, ...] = ()
    scale_by_layer: bool = False
    soft_cap: PositiveFloat | None = None
    sinks: bool = False
    clip: PositiveFloat | None = None
    dropout: Probability = 0.0

    k: nn.Linear
    v: nn.Linear
    gate: Gate
    q_norm: Norm
    k_norm: Norm
    sink: nn.Parameter | None

    def __init__(
        self,
        d_model: int,
        d_keys: int | None,
        n_kv_heads: int | None,
        head_dim: int | None,
    ) -> None:
        """``d_keys``: width of what keys and values are projected from; None: the part has none of its own.

        ValueError if n_heads does not divide d_model (without head_dim), n_kv_heads not n_heads, or ``bias`` names no projection.
        """
        super().__init__()
        bias = self.bias
        if wrong := sorted(set(bias) - set(PROJECTIONS)):
            raise ValueError(f"bias={list(bias)}: {wrong[0]!r} is no projection; there are {', '.join(PROJECTIONS)}")
        self.head_dim, self.n_kv_heads = head_width(d_model, self.n_heads, head_dim), kv_heads_of(self.n_heads, n_kv_heads)
        self.has_keys = d_keys is not None
        self.q = Linear(d_model, self.n_heads * self.head_dim, bias="q" in bias)
        if d_keys is not None:
            self.k = Linear(d_keys, self.n_kv_heads * self.head_dim, bias="k" in bias)
            self.v = Linear(d_keys, self.n_kv_heads * self.head_dim, bias="v" in bias)
        self.out = Linear(self.n_heads * self.head_dim, d_model, bias="out" in bias)

    def add_reading(self, gate: Maker["gate"], scale: float | None, place: Place | None) -> None:
        """The gate, the norms, the sinks and the factor on scores. Apart, so that weights keep their order: optimizers number them by it."""
        self.scale = scale_of(scale, self.head_dim, place, self.scale_by_layer)
        self.gate = make(gate, "gate", d_model=self.q.in_features, n_heads=self.n_heads, head_dim=self.head_dim)
        # asked once, as below: looking a module up is slow, and decoding would do it for every token
        self.gated = not self.gate.identity
        self.norms_all_heads = self.qk_norm_over == "full"
        counts = {"q_norm": self.n_heads, **({"k_norm": self.n_kv_heads} if self.has_keys else {})}
        for name, heads in counts.items():
            sizes = {"dim": heads * self.head_dim if self.norms_all_heads else self.head_dim}
            if self.qk_norm_over == "per_head_weight":
                sizes["heads"] = heads
            setattr(self, name, make(self.qk_norm, "norm", **sizes))
        self.norm_at = "nowhere" if self.q_norm.identity else self.qk_norm_at
        self.sink = nn.Parameter(torch.empty(self.n_heads)) if self.sinks else None
        self.reset_parameters()

    @property
    def splits(self) -> Mapping[str, int]:
        """Heads do not know of one another, unless they are normed together or by scales of their own. A single head of keys serves all pieces."""
        alone = self.norm_at == "nowhere" or self.qk_norm_over == "head"
        if not alone or (self.gated and not self.gate.splits):
            return {}
        return {"heads": self.n_heads, **({"kv_heads": self.n_kv_heads} if self.n_kv_heads > 1 else {})}

    def reset_parameters(self) -> None:
        if self.sink is not None:
            nn.init.zeros_(self.sink)

    def split_heads(self, y: Tensor, norm: Norm | None = None) -> Tensor:
        """What a projection gave, (B, T, H * K) -> (B, H, T, K), clipped and normed.

        The number of heads is read from the width, since a tensor-parallel rank holds only some.
        """
        if self.clip is not None:
            y = y.clamp(-self.clip, self.clip)
        norm = norm if self.norm_at == "before" else None
        if norm is not None and self.norms_all_heads:
            y = norm(y)
        y = y.unflatten(-1, (-1, self.head_dim))
        if norm is not None and not self.norms_all_heads:
            y = norm(y)
        return y.transpose(1, 2)

    def normed_after(self, y: Tensor, norm: Norm) -> Tensor:
        """The norm after the rotation, if it stands there: (B, H, T, K) -> (B, H, T, K)."""
        if self.norm_at != "after":
            return y
        y = y.transpose(1, 2)
        y = norm(y.flatten(2)).unflatten(-1, (-1, self.head_dim)) if self.norms_all_heads else norm(y)
        return y.transpose(1, 2)

    def read(
        self, x: Tensor, info: SequenceInfo, q: Tensor, k: Tensor, v: Tensor, spec: MaskSpec, bias: Tensor | None
    ) -> Tensor:
        """What the heads read (B, H, T, K) of keys and values, gated by x and projected out: (B, T, D)."""
        dropout = self.dropout if self.training else 0.0
        read = attend(
            q, k, v, spec, bias=bias, scale=self.scale, soft_cap=self.soft_cap, sinks=self.sink, dropout=dropout
        ).transpose(1, 2)
        return self.out((self.gate(read, x, info) if self.gated else read).flatten(2))


def scale_of(scale: float | None, width: int, place: Place | None, by_layer: bool) -> float | None:
    """The factor on scores, divided by the layer's number from 1 if ``by_layer`` (GPT-2). ValueError without a layer then."""
    if not by_layer:
        return scale
    if place is None:
        raise ValueError("scale_by_layer=true needs a layer: this attention stands in none")
    return (width**-0.5 if scale is None else scale) / (place.index + 1)
