"""Attention by batched products that keeps nothing of size T x T: neither for the backward pass nor, beyond a few heads at once, during it.

A causal mask lets queries be taken in blocks, each against the keys up to its own last: what lies above the diagonal is not computed, and the mask is one small
triangle. As FlashAttention skips blocks: Dao 2023, arXiv:2307.08691, section 3.1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

SCORES_AT_ONCE = 1 << 20  # of all heads together: small enough for the cache, large enough for the products


def masked_scores(q: Tensor, k: Tensor, mask: Tensor, scale: float) -> Tensor:
    """q k^T * scale + mask: (N, Tq, K), (N, Tk, K) and (1, Tq, Tm) -> (N, Tq, Tk). A mask of fewer keys is that of the last ones."""
    hidden = mask.shape[2]
    if hidden == k.shape[1]:  # the product added onto the mask in one pass
        return torch.baddbmm(mask.expand(q.shape[0], -1, -1), q, k.transpose(1, 2), alpha=scale)
    scores = q.new_empty(q.shape[0], q.shape[1], k.shape[1]).baddbmm_(q, k.transpose(1, 2), beta=0, alpha=scale)
    scores[:, :, -hidden:].add_(mask)
    return scores


def causal_block(length: int) -> int:
    """How many queries at once, where none sees what comes later: few skip more of the square, many make larger products. Measured from 256 to 8,192."""
    return min(length, max(128, min(256, length // 4), length // 8))


def triangle(size: int, dtype: torch.dtype) -> Tensor:
    """(1, size, size): 0 where a query sees a key, -inf above the diagonal."""
    return torch.full((1, size, size), float("-inf"), dtype=dtype).triu_(1)


class LeanProducts(torch.autograd.Function):
    """softmax(q k^T * scale + mask) v, a few heads at a time; the backward pass computes the weights again, for 5 % of a training step."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        """q (N, Tq, K), k (N, Tk, K), v (N, Tk, Kv) -> (N, Tq, Kv), all of one dtype.

        mask, of 0 and -inf: (1, Tq, Tk), or a ``triangle`` of fewer than Tq queries: each sees the keys up to its own, in blocks of so many.
        """
        ctx.save_for_backward(q, k, v, mask)
        ctx.scale = scale
        out = q.new_empty(*q.shape[:2], v.shape[-1])
        for heads, rows, seen, hidden in _blocks(q, k, mask):
            weights = torch.softmax(masked_scores(q[heads, rows], k[heads, :seen], hidden, scale), -1)
            torch.bmm(weights, v[heads, :seen], out=out[heads, rows])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        if torch.is_grad_enabled():  # once_differentiable would be silent where torch.autograd.grad finds another path
            raise RuntimeError("attention by products has no second derivative")
        (q, k, v, mask), grad = ctx.saved_tensors, grads[0]
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for heads, rows, seen, hidden in _blocks(q, k, mask):
            ours, theirs = (heads, rows), (heads, slice(seen))
            weights = torch.softmax(masked_scores(q[ours], k[theirs], hidden, ctx.scale), -1)
            grad_weights = torch.bmm(grad[ours], v[theirs].transpose(1, 2))
            scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)  # pyright: ignore[reportPrivateImportUsage]
            kept = 0 if seen == k.shape[1] else 1  # the block that sees all keys comes first, and what was there is no number
            grad_v[theirs].baddbmm_(weights.transpose(1, 2), grad[ours], beta=kept)
            grad_q[ours].baddbmm_(scores, k[theirs], beta=0, alpha=ctx.scale)
            grad_k[theirs].baddbmm_(scores.transpose(1, 2), q[ours], beta=kept, alpha=ctx.scale)
        return grad_q, grad_k, grad_v, None, None


def _blocks(q: Tensor, k: Tensor, mask: Tensor) -> Iterator[tuple[slice, slice, int, Tensor]]:
    """Of which heads and queries, how many keys they see, and what of the last ones is hidden. Of fake tensors, which have no numbers to miss, only some."""
    queries, keys, size = q.shape[1], k.shape[1], mask.shape[1]
    for first in _some([*reversed(range(0, queries, size))], q):
        last = min(first + size, queries)
        seen = keys if size == queries else last
        hidden = mask if last - first == size else mask[:, : last - first, : last - first]
        count = max(1, SCORES_AT_ONCE // ((last - first) * seen))
        for head in _some(range(0, q.shape[0], count), q):
            yield slice(head, head + count), slice(first, last), seen, hidden


def _some(places: Sequence[int], q: Tensor) -> Sequence[int]:
    return (*places[:2], *places[2:][-1:]) if isinstance(q, FakeTensor) else places
