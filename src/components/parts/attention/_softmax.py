"""What the parts of the softmax family share: widths of heads, heads from projections, FLOPs of the products."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from components.core.flops import Flops, Work, children, flops_of
from components.core.sockets import SequenceInfo


def head_width(d_model: int, n_heads: int, head_dim: int | None, halves: int = 1) -> int:
    """``head_dim``, or d_model / (halves * n_heads). ValueError if that is no whole number."""
    if head_dim is None and d_model % (halves * n_heads):
        twice = "twice " if halves == 2 else ""
        raise ValueError(
            f"{twice}n_heads={n_heads} does not divide d_model={d_model}; choose n_heads among the divisors of {d_model // halves}, or give head_dim"
        )
    return d_model // (halves * n_heads) if head_dim is None else head_dim


def kv_heads_of(n_heads: int, n_kv_heads: int | None) -> int:
    """``n_kv_heads``, or n_heads. ValueError if heads cannot share them evenly."""
    count = n_heads if n_kv_heads is None else n_kv_heads
    if n_heads % count:
        raise ValueError(f"n_kv_heads={count} does not divide n_heads={n_heads}")
    return count


def heads_of(y: Tensor, width: int, norm: nn.Module | None = None) -> Tensor:
    """(B, T, H * K) -> (B, H, T, K), each head's vector normed."""
    y = y.unflatten(-1, (-1, width))
    if norm is not None and not norm.identity:
        y = norm(y)
    return y.transpose(1, 2)


def softmax_flops(part: Any, work: Work, per_cell: int) -> Flops:
    """Projections at every position, ``per_cell`` FLOPs for every pair of a query and a key, and what the position takes."""
    products = Flops(per_cell * work.length**2, per_cell * part.mask.cells(work.length, work.causal))
    return children(part, work, leave=("position", "mask")) + products + flops_of(part.position, work)


def add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The sum of those that are there."""
    return b if a is None else a if b is None else a + b


def kept(part: nn.Module, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
    """Keys and values with those of earlier calls, and the info that describes them."""
    return (k, v, info) if info.cache is None else info.cache.slot(part, info.visit).append(k, v, info)
