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


def masked_scores(q: Tensor, k: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """q k^T * scale + mask: (N, Tq, K), (N, Tk, K) and (1, Tq, Tm) -> (N, Tq, Tk). A mask of fewer keys is that of the last ones; None hides nothing."""
    if mask is not None and mask.shape[2] == k.shape[1]:  # the product added onto the mask in one pass
        return torch.baddbmm(mask.expand(q.shape[0], -1, -1), q, k.transpose(1, 2), alpha=scale)
    scores = q.new_empty(q.shape[0], q.shape[1], k.shape[1]).baddbmm_(q, k.transpose(1, 2), beta=0, alpha=scale)
    if mask is not None:
        scores[:, :, -mask.shape[2] :].add_(mask)
    return scores


def causal_block(length: int) -> int:
    """How many queries at once, where none sees what comes later: few skip more of the square, many make larger products. Measured from 256 to 8,192."""
    return min(length, max(128, min(256, length // 4), length // 8))


def triangle(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(1, size, size): 0 where a query sees a key, -inf above the diagonal."""
    return torch.full((1, size, size), float("-inf"), dtype=dtype, device=device).triu_(1)


def multiplies_bf16(q: Tensor) -> bool:
    """Whether these are of bf16 on a CPU that has instructions for it, where products beat torch's fused kernel; a compiler chooses for itself."""
    here = q.device.type == "cpu" and q.dtype is torch.bfloat16
    return here and not torch.compiler.is_compiling() and torch.cpu._is_avx512_bf16_supported()


class LeanProducts(torch.autograd.Function):
    """softmax(q k^T * scale + mask) v, a few heads at a time; the backward pass computes the weights again, for 5 % of a training step."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, block: int) -> Tensor:
        """q (N, Tq, K), k (N, Tk, K), v (N, Tk, Kv) -> (N, Tq, Kv), all of one dtype.

        mask, of 0 and -inf: (M, Tq, Tk), each for N / M of the heads; a ``triangle`` of ``block`` positions; None hides nothing.
        block: how many queries at once. With fewer than Tq no query sees what is later, and Tq is Tk.
        """
        ctx.save_for_backward(q, k, v, mask)
        ctx.scale, ctx.block = scale, block
        out = q.new_empty(*q.shape[:2], v.shape[-1])
        for heads, rows, seen, hidden in _pieces(q, k, mask, block):
            weights = torch.softmax(masked_scores(q[heads, rows], k[heads, :seen], hidden, scale), -1)
            torch.bmm(weights, v[heads, :seen], out=out[heads, rows])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        if torch.is_grad_enabled():  # once_differentiable would be silent where torch.autograd.grad finds another path
            raise RuntimeError("attention by products has no second derivative")
        (q, k, v, mask), grad = ctx.saved_tensors, grads[0]
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for heads, rows, seen, hidden in _pieces(q, k, mask, ctx.block):
            ours, theirs = (heads, rows), (heads, slice(seen))
            weights = torch.softmax(masked_scores(q[ours], k[theirs], hidden, ctx.scale), -1)
            grad_weights = torch.bmm(grad[ours], v[theirs].transpose(1, 2))
            scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)  # pyright: ignore[reportPrivateImportUsage]
            kept = 0 if seen == k.shape[1] else 1  # the block that sees all keys comes first, and what was there is no number
            grad_v[theirs].baddbmm_(weights.transpose(1, 2), grad[ours], beta=kept)
            grad_q[ours].baddbmm_(scores, k[theirs], beta=0, alpha=ctx.scale)
            grad_k[theirs].baddbmm_(scores.transpose(1, 2), q[ours], beta=kept, alpha=ctx.scale)
        return grad_q, grad_k, grad_v, None, None, None


def _pieces(q: Tensor, k: Tensor, mask: Tensor | None, block: int) -> Iterator[tuple[slice, slice, int, Tensor | None]]:
    """Of which heads and queries, how many keys they see, and what of these is hidden. Of fake tensors, which have no numbers to miss, only some."""
    count, queries = q.shape[0], q.shape[1]
    masks = 1 if mask is None else mask.shape[0]
    alike = count // masks  # heads that have one mask
    for first in _some([*reversed(range(0, queries, block))], q):
        last = min(first + block, queries)
        seen = k.shape[1] if block >= queries else last
        at_once = max(1, SCORES_AT_ONCE // ((last - first) * seen))
        for one in range(masks):
            hidden = None if mask is None else _hidden(mask[one : one + 1], first, last, seen)
            for head in _some(range(one * alike, (one + 1) * alike, at_once), q):
                yield slice(head, min(head + at_once, (one + 1) * alike)), slice(first, last), seen, hidden


def _hidden(mask: Tensor, first: int, last: int, seen: int) -> Tensor:
    if mask.shape[1] >= last:
        return mask[:, first:last, :seen]
    return mask[:, : last - first, : last - first]  # of a triangle, whose last block may be smaller


def _some(places: Sequence[int], q: Tensor) -> Sequence[int]:
    return (*places[:2], *places[2:][-1:]) if isinstance(q, FakeTensor) else places
