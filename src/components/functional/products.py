"""Attention by batched products that keeps nothing of size T x T: neither for the backward pass nor, beyond a few heads at once, during it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

SCORES_AT_ONCE = 1 << 20  # of all heads together: small enough for the cache, large enough for the products


def masked_scores(q: Tensor, k: Tensor, mask: Tensor, scale: float) -> Tensor:
    """q k^T * scale + mask: (N, Tq, K), (N, Tk, K) and (1, Tq, Tk) -> (N, Tq, Tk), the product added onto the mask in one pass."""
    return torch.baddbmm(mask.expand(q.shape[0], -1, -1), q, k.transpose(1, 2), alpha=scale)


class LeanProducts(torch.autograd.Function):
    """softmax(q k^T * scale + mask) v, a few heads at a time; the backward pass computes the weights again, for 5 % of a training step."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        """q (N, Tq, K), k (N, Tk, K), v (N, Tk, Kv), mask (1, Tq, Tk) of 0 and -inf, all of one dtype -> (N, Tq, Kv)."""
        ctx.save_for_backward(q, k, v, mask)
        ctx.scale = scale
        out = q.new_empty(*q.shape[:2], v.shape[-1])
        for some in _heads(q, k):
            torch.bmm(torch.softmax(masked_scores(q[some], k[some], mask, scale), -1), v[some], out=out[some])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        if torch.is_grad_enabled():  # once_differentiable would be silent where torch.autograd.grad finds another path
            raise RuntimeError("attention by products has no second derivative")
        (q, k, v, mask), grad = ctx.saved_tensors, grads[0]
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for some in _heads(q, k):
            weights = torch.softmax(masked_scores(q[some], k[some], mask, ctx.scale), -1)
            torch.bmm(weights.transpose(1, 2), grad[some], out=grad_v[some])
            grad_weights = torch.bmm(grad[some], v[some].transpose(1, 2))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)  # pyright: ignore[reportPrivateImportUsage]
            torch.bmm(grad_scores, k[some], out=grad_q[some])
            torch.bmm(grad_scores.transpose(1, 2), q[some], out=grad_k[some])
        return grad_q.mul_(ctx.scale), grad_k.mul_(ctx.scale), grad_v, None, None


def _heads(q: Tensor, k: Tensor) -> Iterator[slice]:
    count = max(1, SCORES_AT_ONCE // (q.shape[1] * k.shape[1]))
    for first in range(0, q.shape[0], count):
        yield slice(first, first + count)
