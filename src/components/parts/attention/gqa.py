"""Softmax attention. With as many heads of keys as of queries it is multi-head attention, with one it is multi-query attention.

Vaswani et al. 2017, arXiv:1706.03762; Shazeer 2019, arXiv:1911.02150; Ainslie et al. 2023, arXiv:2305.13245. Soft cap: Gemma 2, arXiv:2408.00118;
sinks: gpt-oss 2025; QK-norm: Henry et al. 2020, arXiv:2010.04245; clipping: DBRX 2024. What it shares with the cross attention stands in ``_grouped.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from components.core.contracts import Mask, Sharing, Value
from components.core.flops import Flops, Work, children, flops_of
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make
from components.functional.attention import one_query
from components.functional.attention_mask import MaskSpec
from components.functional.decode_products import by_token, by_token_together
from components.functional.joint import joint_linear
from components.functional.precision import cast_once
from components.functional.token_steps import TokenStep, looked_up
from components.parts.attention._cross import CrossAttention
from components.parts.attention._grouped import GroupedHeads
from components.parts.attention._positioned import Positioned
from components.parts.attention._softmax import kept


@register("attention", "gqa")
class GroupedQueryAttention(GroupedHeads, Positioned):
    """Grouped-query attention: heads of queries share heads of keys and values.

    Where a memory is read (a block's ``cross``), ``make`` builds ``_cross.CrossAttention`` with the same options and the same names of weights.

    Args:
        n_kv_heads: heads of keys and values; null: as many as n_heads (multi-head), 1: multi-query.
        head_dim: width of a head; null: d_model / n_heads.
        position: rotates queries and keys, or biases scores.
        mask: which distances are seen; a cross attention sees all of its memory, whatever mask it is given or inherits.
        value: changes values before they are kept and read.
        gate: scales what was read, before the output projection.
        sharing: whose keys and values are read; a layer that borrows has no such projections of its own, nor a norm of keys.
        scale: factor on scores; null: 1 / sqrt(head_dim).

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model (without head_dim), n_kv_heads not n_heads, bias names no projection, lent keys have
        another width, or a norm after the rotation would undo what the position does.
    """

    provides = ("rotates", "biases", "weights", "memory", "prefix", "keys_as_values")
    across = CrossAttention  # what stands in its place where a memory is read
    mask: Mask
    sharing: Sharing
    value: Value

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        place: Place | None = None,
        *,
        n_kv_heads: Positive | None = None,
        head_dim: Positive | None = None,
        position: Maker["position"] = "inherit",
        mask: Maker["mask"] = "full",
        value: Maker["value"] = "none",
        gate: Maker["gate"] = "none",
        sharing: Maker["sharing"] = "none",
        scale: PositiveFloat | None = None,
    ) -> None:
        layer = {} if place is None else {"place": place}
        shared = make(sharing, "sharing", **layer)
        super().__init__(d_model, None if shared.borrows else d_model, n_kv_heads, head_dim)
        self.sharing, self.borrows, self.lends = shared, shared.borrows, not shared.identity
        self.mask = make(mask, "mask", context_length=context_length)
        of_values = {"d_model": d_model, "n_kv_heads": self.n_kv_heads, "head_dim": self.head_dim, **layer}
        self.value = make("none" if self.borrows else value, "value", **of_values)
        self.values_are_keys = self.value.of_keys
        if self.values_are_keys:
            if "v" in self.bias:
                raise ValueError(
                    "bias names v, and value=from_keys leaves no projection of values: leave v out, or use another value"
                )
            del self.v
        self.add_reading(gate, scale, place)
        self.add_position(
            position, d_model=d_model, n_heads=self.n_heads, head_dim=self.head_dim, context_length=context_length
        )
        self.changes_values = not self.value.identity
        if self.rotates and self.norm_at == "after" and self.position.sets_lengths:
            raise ValueError("qk_norm_at=after would undo the lengths that this position gives to queries: use before")

    @property
    def splits(self) -> Mapping[str, int]:
        """Not where keys or values come from another layer, or a bias on scores is not of each head's own."""
        mixed = self.lends or self.borrows or self.changes_values or (self.biased and not self.position.splits)
        return {} if mixed else super().splits

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x = cast_once(x)
        q, k, v, k_info = self._borrowed(x, info) if self.borrows else self._own(x, info)
        bias = self.position.bias(q, k, info, k_info) if self.biased else None
        return self.read(x, info, q, k, v, MaskSpec(info, k_info, info.causal, self.mask), bias)

    def _own(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, Tensor, SequenceInfo]:
        """Queries, keys, values, and the info that describes the keys."""
        q, k, *own = joint_linear(x, (self.q, self.k) if self.values_are_keys else (self.q, self.k, self.v))
        v = self.split_heads(own[0] if own else k)
        q, k = self.split_heads(q, self.q_norm), self.split_heads(k, self.k_norm)
        if self.changes_values:
            v = self.value(v, x, info)
        if self.rotates:
            q, k = self.position.rotate(q, k, info, info)
        q, k = self.normed_after(q, self.q_norm), self.normed_after(k, self.k_norm)
        k, v, k_info = kept(self, k, v, info)
        if self.lends:
            self.sharing.lend(k, v, k_info, info)
        return q, k, v, k_info

    def token_step(self) -> TokenStep | None:
        """Not where layers share keys, values are changed, or a norm asks for more than a head's own vector."""
        normed = self.norm_at != "nowhere"
        if (
            self.lends
            or self.borrows
            or self.changes_values
            or self.values_are_keys
            or self.clip is not None
            or (normed and (self.norm_at == "after" or self.qk_norm_over != "head"))
        ):
            return None
        projected, out = by_token_together((self.q, self.k, self.v)), by_token(self.out)
        q_norm, k_norm = looked_up(self.q_norm).forward, looked_up(self.k_norm).forward
        read = one_query(self.mask, self.scale, self.soft_cap, self.sink)
        width, position, gate = self.head_dim, self.position, self.gate
        rotates, biased, gated = self.rotates, self.biased, self.gated

        def step(x: Tensor, info: SequenceInfo) -> Tensor:
            x = cast_once(x)
            texts = x.shape[0]
            q, k, v = projected(x)
            # of one position the order of its axis and the heads' does not matter
            q, k, v = q.view(texts, -1, 1, width), k.view(texts, -1, 1, width), v.view(texts, -1, 1, width)
            if normed:
                q, k = q_norm(q), k_norm(k)
            if rotates:
                q, k = position.rotate(q, k, info, info)
            k, v, k_info = info.cache.slot(self, info.visit).append(k, v, info)  # type: ignore[union-attr]  # its layer has asked
            y = read(q, k, v, info, k_info, position.bias(q, k, info, k_info) if biased else None)
            return out((gate(y.transpose(1, 2), x, info) if gated else y).reshape(texts, 1, -1))

        return step

    def _borrowed(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, Tensor, SequenceInfo]:
        """The same with the keys and values of an earlier layer."""
        k, v, k_info = self.sharing.borrow(info)
        if k.shape[-1] != self.head_dim:
            raise ValueError(
                f"keys of width {k.shape[-1]} are lent to heads of width {self.head_dim}: give both layers the same head_dim"
            )
        q = self.split_heads(self.q(x), self.q_norm)
        if self.rotates:
            q, _ = self.position.rotate(q, q, info, info)
        return self.normed_after(q, self.q_norm), k, v, k_info

    def flops(self, work: Work) -> Flops:
        wide = 4 * self.q.out_features  # scores and their sum, 2 FLOPs each per channel and cell
        products = Flops(wide * work.length**2, wide * self.mask.cells(work.length, work.causal))
        return children(self, work, leave=("position",)) + products + flops_of(self.position, work)
