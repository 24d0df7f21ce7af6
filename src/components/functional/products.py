"""Attention by batched products that keeps nothing of size T x T: neither for the backward pass nor, beyond a few heads at once, during it.

The backward pass computes the weights again, and draws again which of them are dropped. As FlashAttention does: Dao et al. 2022, arXiv:2205.14135, section 3.1
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.functional.pieces import Piece, Way, pieces_of
from components.functional.precision import multiplies_bf16


def beats_fused(q: Tensor) -> bool:
    """Whether these are of bf16 on a CPU that has products of it, which are faster than torch's fused kernel there; a compiler chooses for itself."""
    here = q.device.type == "cpu" and q.dtype is torch.bfloat16
    return here and not torch.compiler.is_compiling() and multiplies_bf16("cpu")


class LeanProducts(torch.autograd.Function):
    """softmax(scores) v, a few heads at a time; the backward pass computes the weights again, for 5 % of a training step."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        bias: Tensor | None,
        sinks: Tensor | None,
        keys: Tensor | None,
        way: Way,
    ) -> Tensor:
        """q (N, Tq, K), k (N, Tk, K), v (N, Tk, Kv) -> (N, Tq, Kv), all of one dtype; N texts times heads.

        mask, of 0 and -inf: (1 or texts, Tq, Tk), or a ``triangle`` of ``block`` positions; None hides nothing.
        bias: (1 or texts, heads, Tq, Tk). sinks: (N,), a logit that takes weight and gives nothing.
        keys: of the rows that are drawn for, where ``way`` drops.
        """
        ctx.save_for_backward(q, k, v, mask, bias, sinks, keys)
        ctx.way = way
        out = q.new_empty(*q.shape[:2], v.shape[-1])
        for piece in pieces_of(q, k, mask, bias, way):
            weights, _ = _weights(q[piece.ours], k[piece.theirs], sinks, piece, way)
            weights = weights[..., : piece.seen]
            piece.drop(way, keys, weights)
            if way.dropped is None:  # two of a hundred parts of attention's time less
                torch.bmm(weights, v[piece.theirs], out=out[piece.ours])
            else:
                out[piece.ours].baddbmm_(weights, v[piece.theirs], beta=0, alpha=way.grown)
            del weights  # its memory, which is in the cache, is the next one's
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would be silent where torch.autograd.grad finds another path
            raise RuntimeError("attention by products has no second derivative")
        (q, k, v, mask, bias, sinks, keys), grad, way = ctx.saved_tensors, grads[0], ctx.way
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        grad_bias = torch.zeros_like(bias) if ctx.needs_input_grad[4] else None
        grad_sinks = None if sinks is None else torch.zeros_like(sinks)
        for piece in pieces_of(q, k, mask, bias, way):
            ours, theirs = piece.ours, piece.theirs
            weights, bent = _weights(q[ours], k[theirs], sinks, piece, way)
            of_weights = _product(grad[ours], v[theirs], way.grown)
            # the block that sees all keys comes first, and what was there is no number
            kept = 0 if piece.seen == k.shape[1] else 1
            used = weights[..., : piece.seen] if way.dropped is None else weights[..., : piece.seen].clone()
            piece.drop(way, keys, of_weights, used)
            grad_v[theirs].baddbmm_(used.transpose(1, 2), grad[ours], beta=kept, alpha=way.grown)
            del used
            if sinks is not None:
                of_weights = torch.nn.functional.pad(of_weights, (0, 1))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)  # pyright: ignore[reportPrivateImportUsage]
            del of_weights
            if grad_sinks is not None:
                grad_sinks[piece.heads] += of_scores[..., -1].sum(-1)
                of_scores = of_scores[..., :-1]
            if grad_bias is not None:
                there = piece.of_bias(grad_bias)
                there += of_scores if len(there) == len(of_scores) else of_scores.sum(0)
            if bent is not None:
                of_scores = torch.ops.aten.tanh_backward(of_scores, bent)
            grad_q[ours].baddbmm_(of_scores, k[theirs], beta=0, alpha=way.scale)
            grad_k[theirs].baddbmm_(of_scores.transpose(1, 2), q[ours], beta=kept, alpha=way.scale)
            del weights, of_scores, bent
        return grad_q, grad_k, grad_v, None, grad_bias, grad_sinks, None, None


def _weights(q: Tensor, k: Tensor, sinks: Tensor | None, piece: Piece, way: Way) -> tuple[Tensor, Tensor | None]:
    """(n, rows, seen), with a column more where heads have sinks; and the tanh of scores that are capped."""
    scores, bent = _scores(q, k, piece, way)
    if sinks is not None:
        scores = torch.cat((scores, sinks[piece.heads].to(scores.dtype)[:, None, None].expand(-1, scores.shape[1], 1)), -1)
    return torch.softmax(scores, -1), bent


def _scores(q: Tensor, k: Tensor, piece: Piece, way: Way) -> tuple[Tensor, Tensor | None]:
    """(n, rows, seen), and the tanh of those that are capped."""
    added = [x for x in (piece.bias, piece.mask) if x is not None]
    bent: Tensor | None = None
    if way.soft_cap is not None:
        bent = _product(q, k, way.scale / way.soft_cap).tanh_()
        scores = bent * way.soft_cap
    elif added and added[0].shape[2] == k.shape[1]:
        # the product added onto it in one pass; and written, since selective checkpointing keeps what is returned
        first, scores = added.pop(0), q.new_empty(*q.shape[:2], k.shape[1])
        torch.baddbmm(first.expand(q.shape[0], -1, -1), q, k.transpose(1, 2), alpha=way.scale, out=scores)
    else:
        scores = _product(q, k, way.scale)
    for x in added:
        scores[:, :, -x.shape[2] :].add_(x)
    return scores, bent


def _product(q: Tensor, k: Tensor, scale: float) -> Tensor:
    return q.new_empty(q.shape[0], q.shape[1], k.shape[1]).baddbmm_(q, k.transpose(1, 2), beta=0, alpha=scale)
