"""Grouped-query attention: heads of queries share heads of keys and values; multi-head and multi-query are its two ends.

Vaswani et al. 2017, arXiv:1706.03762; Shazeer 2019, arXiv:1911.02150; Ainslie et al. 2023, arXiv:2305.13245. Soft cap: Gemma 2, arXiv:2408.00118;
sinks: gpt-oss 2025; QK-norm: Henry et al. 2020, arXiv:2010.04245; clipping: DBRX 2024. This one file holds every option of softmax attention.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import NOTHING, Flops, Work, children, flops_of
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat, Probability
from components.core.sockets import Maker, Place, SequenceInfo, adopt, make
from components.functional.attention import attend
from components.functional.joint import joint_linear
from components.functional.precision import cast_once
from components.functional.visibility import Sight


@register("attention", "gqa")
class GroupedQueryAttention(nn.Module):
    """Grouped-query attention: heads of queries share heads of keys and values.

    With ``d_memory`` it is a cross attention: keys and values come from ``info.memory``, all of it is seen, and neither mask nor position applies,
    since query and key count the positions of different sequences.

    Args:
        n_heads: heads of queries.
        n_kv_heads: heads of keys and values; null: as many as n_heads (multi-head), 1: multi-query.
        head_dim: width of a head; null: d_model / n_heads.
        position: rotates queries and keys, or biases scores.
        mask: which distances are seen; a cross attention sees all of its memory, whatever mask it is given or inherits.
        value: changes values before they are kept and read.
        gate: scales what was read, before the output projection.
        sharing: whose keys and values are read; a layer that borrows has no such projections of its own, nor a norm of keys.
        qk_norm: norm of queries and keys.
        qk_norm_over: each head's vector with one scale for all heads (head), with a scale per head (per_head_weight), or all heads together (full).
        qk_norm_at: before or after the rotation.
        bias: which of the projections q, k, v, out have a bias.
        scale: factor on scores; null: 1 / sqrt(head_dim).
        scale_by_layer: divides that factor by the layer's number, from 1 (an option of GPT-2).
        soft_cap: c in c * tanh(score / c).
        sinks: a learned logit per head that takes weight and gives nothing.
        clip: queries, keys and values are clamped to +- this.
        dropout: probability of dropping an attention weight.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model (without head_dim), n_kv_heads not n_heads, bias names no projection, lent keys have
        another width, or a norm after the rotation would undo what the position does.
    """

    provides = ("rotates", "biases", "weights", "memory", "prefix")
    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "kv_heads"),
        "v": ("d_model", "kv_heads"),
        "out": ("heads", "d_model"),
        "sink": ("heads",),
    }

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        place: Place | None = None,
        d_memory: int | None = None,
        *,
        n_heads: Positive = 4,
        n_kv_heads: Positive | None = None,
        head_dim: Positive | None = None,
        position: Maker["position"] = "inherit",
        mask: Maker["mask"] = "full",
        value: Maker["value"] = "none",
        gate: Maker["gate"] = "none",
        sharing: Maker["sharing"] = "none",
        qk_norm: Maker["norm"] = "none",
        qk_norm_over: Literal["head", "per_head_weight", "full"] = "head",
        qk_norm_at: Literal["before", "after"] = "before",
        bias: tuple[str, ...] = (),
        scale: PositiveFloat | None = None,
        scale_by_layer: bool = False,
        soft_cap: PositiveFloat | None = None,
        sinks: bool = False,
        clip: PositiveFloat | None = None,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if head_dim is None and d_model % n_heads:
            raise ValueError(
                f"n_heads={n_heads} does not divide d_model={d_model}; choose n_heads among its divisors, or give head_dim"
            )
        if n_heads % kv_heads:
            raise ValueError(f"n_kv_heads={kv_heads} does not divide n_heads={n_heads}")
        if wrong := sorted(set(bias) - {"q", "k", "v", "out"}):
            raise ValueError(f"bias={list(bias)}: {wrong[0]!r} is no projection; there are q, k, v, out")
        width = d_model // n_heads if head_dim is None else head_dim
        self.head_dim, self.cross = width, d_memory is not None
        if scale_by_layer:
            if place is None:
                raise ValueError("scale_by_layer=true needs a layer: this attention stands in none")
            scale = (width**-0.5 if scale is None else scale) / (place.index + 1)
        self.scale, self.soft_cap, self.clip, self.dropout = scale, soft_cap, clip, dropout
        self.q = nn.Linear(d_model, n_heads * width, bias="q" in bias)
        self.sharing = make("none" if self.cross else sharing, "sharing", **({} if place is None else {"place": place}))
        self.borrows = self.sharing.borrows
        if not self.borrows:
            self.k = nn.Linear(d_memory or d_model, kv_heads * width, bias="k" in bias)
            self.v = nn.Linear(d_memory or d_model, kv_heads * width, bias="v" in bias)
        self.out = nn.Linear(n_heads * width, d_model, bias="out" in bias)
        self.mask = make("full" if self.cross else mask, "mask", context_length=context_length)
        of_values = {
            "d_model": d_model,
            "n_kv_heads": kv_heads,
            "head_dim": width,
            **({} if place is None else {"place": place}),
        }
        self.value = make("none" if self.cross or self.borrows else value, "value", **of_values)
        self.gate = make(gate, "gate", d_model=d_model, n_heads=n_heads, head_dim=width)
        self.full_width, self.k_norm = qk_norm_over == "full", None
        for name, heads in (("q_norm", n_heads), *([] if self.borrows else [("k_norm", kv_heads)])):
            sizes = {"dim": heads * width} if self.full_width else {"dim": width}
            setattr(
                self, name, make(qk_norm, "norm", **sizes, **({"heads": heads} if qk_norm_over == "per_head_weight" else {}))
            )
        normed = not getattr(self.q_norm, "identity", False)
        self.norm_first, self.norm_after = normed and qk_norm_at == "before", normed and qk_norm_at == "after"
        self.gated, self.valued, self.lends = (
            not getattr(part, "identity", False) for part in (self.gate, self.value, self.sharing)
        )
        if sinks:
            self.sink = nn.Parameter(torch.empty(n_heads))
        if not self.cross:
            sizes = {"d_model": d_model, "n_heads": n_heads, "head_dim": width}
            adopt(
                self,
                "position",
                make(position, "position", **sizes, **({} if context_length is None else {"context_length": context_length})),
            )
        # asked once: a missing attribute of a module costs an exception, for every layer and token of a decoding
        self.rotates, self.biased = (not self.cross and hasattr(self.position, method) for method in ("rotate", "bias"))
        if self.rotates and self.norm_after and getattr(self.position, "sets_lengths", False):
            raise ValueError("qk_norm_at=after would undo the lengths that this position gives to queries: use before")
        if not sinks:
            self.sink = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.sink is not None:
            nn.init.zeros_(self.sink)

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        x = cast_once(x)
        q, k, v, k_info, bias = self._across(x, info) if self.cross else self._within(x, info)
        sight = Sight(info, k_info, info.causal and not self.cross, self.mask)
        read = attend(
            q,
            k,
            v,
            sight,
            bias=bias,
            scale=self.scale,
            soft_cap=self.soft_cap,
            sinks=self.sink,
            dropout=self.dropout if self.training else 0.0,
        )
        read = read.transpose(1, 2)
        return self.out((self.gate(read, x, info) if self.gated else read).flatten(2))

    def _within(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, Tensor, SequenceInfo, Tensor | None]:
        """Queries, keys, values, the info that describes the keys, and the bias on scores, of one sequence."""
        if self.borrows:
            k, v, k_info = self.sharing.borrow(info)
            if k.shape[-1] != self.head_dim:
                raise ValueError(
                    f"keys of width {k.shape[-1]} are lent to heads of width {self.head_dim}: give both layers the same head_dim"
                )
            (q,) = self._heads([self.q(x)])
            if self.rotates:
                q, _ = self.position.rotate(q, q, info, info)
            if self.norm_after:
                q = self._normed(q, self.q_norm)
        else:
            q, k, v = self._heads(joint_linear(x, (self.q, self.k, self.v)))
            if self.valued:
                v = self.value(v, x, info)
            if self.rotates:
                q, k = self.position.rotate(q, k, info, info)
            if self.norm_after:
                q, k = self._normed(q, self.q_norm), self._normed(k, self.k_norm)
            k_info = info
            if info.cache is not None:
                k, v, k_info = info.cache.slot(self, info.visit).append(k, v, info)
            if self.lends:
                self.sharing.lend(k, v, k_info, info)
        return q, k, v, k_info, self.position.bias(q, k, info, k_info) if self.biased else None

    def _across(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, Tensor, SequenceInfo, None]:
        """The same with keys and values of the memory, which decoding projects once."""
        assert info.memory_info is not None
        state = info.cache.slot(self, info.visit).state if info.cache is not None else {}
        if "memory" in state:
            (q,) = self._heads([self.q(x)])
            k, v = state["memory"]
        else:
            memory = cast_once(info.memory)  # type: ignore[arg-type]
            q, k, v = self._heads([self.q(x), *joint_linear(memory, (self.k, self.v))])
            if self.norm_after:
                k = self._normed(k, self.k_norm)
            state["memory"] = (k, v)
        if self.norm_after:
            q = self._normed(q, self.q_norm)
        return q, k, v, info.memory_info, None

    def flops(self, work: Work) -> Flops:
        tk = (work.memory or 0) if self.cross else work.length
        projections = children(self, work, leave=("k", "v") if self.cross else ("position",))
        if self.cross:
            projections += children(self, replace(work, length=tk), leave=("q", "out", "gate", "q_norm"))
        wide = 4 * self.q.out_features  # scores and their sum, 2 FLOPs each per channel and cell
        cells = work.length * tk if self.cross else self.mask.cells(work.length, work.causal)
        products = Flops(wide * work.length * tk, wide * cells)
        return projections + products + (NOTHING if self.cross else flops_of(self.position, work))

    def _heads(self, projected: list[Tensor]) -> list[Tensor]:
        """Queries, keys and values (B, T, H * K) -> (B, H, T, K); the number of heads is read from the width, since a tensor-parallel rank holds only some."""
        heads = []
        for y, norm in zip(projected, (self.q_norm, self.k_norm, None)):
            if self.clip is not None:
                y = y.clamp(-self.clip, self.clip)
            early = norm is not None and self.norm_first
            if early and self.full_width:
                y = norm(y)
            y = y.unflatten(-1, (-1, self.head_dim))
            if early and not self.full_width:
                y = norm(y)
            heads.append(y.transpose(1, 2))
        return heads

    def _normed(self, y: Tensor, norm: nn.Module) -> Tensor:
        """The norm after the rotation: (B, H, T, K) -> (B, H, T, K)."""
        y = y.transpose(1, 2)
        y = norm(y.flatten(2)).unflatten(-1, (-1, self.head_dim)) if self.full_width else norm(y)
        return y.transpose(1, 2)
