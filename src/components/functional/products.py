"""Attention by batched products that keeps nothing of size T x T: neither for the backward pass nor, beyond a few heads at once, during it.

A causal mask lets queries be taken in blocks, each against the keys up to its own last: what lies above the diagonal is not computed, and the mask is one small
triangle. As FlashAttention skips blocks: Dao 2023, arXiv:2307.08691, section 3.1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.functional.dropped_weights import Dropped
from components.functional.precision import multiplies_bf16

SCORES_AT_ONCE = 1 << 20  # of all heads together: small enough for the cache, large enough for the products


def causal_block(length: int) -> int:
    """How many queries at once, where none sees what comes later: few skip more of the square, many make larger products. Measured from 256 to 8,192."""
    return min(length, max(128, min(256, length // 4), length // 8))


def triangle(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(1, size, size): 0 where a query sees a key, -inf above the diagonal."""
    return torch.full((1, size, size), float("-inf"), dtype=dtype, device=device).triu_(1)


def beats_fused(q: Tensor) -> bool:
    """Whether these are of bf16 on a CPU that has products of it, which are faster than torch's fused kernel there; a compiler chooses for itself."""
    here = q.device.type == "cpu" and q.dtype is torch.bfloat16
    return here and not torch.compiler.is_compiling() and multiplies_bf16("cpu")


@dataclass(frozen=True)
class Way:
    """How scores are made: softmax(cap(q k^T * scale) + bias + mask).

    Args:
        scale: of scores.
        heads: of a text, which lie side by side.
        block: how many queries at once. With fewer than there are, no query sees what is later, and there are as many keys.
        soft_cap: c in c * tanh(score / c), or None.
        dropped: what is dropped of the weights after the softmax, or None.
    """

    scale: float
    heads: int
    block: int
    soft_cap: float | None = None
    dropped: Dropped | None = None

    @property
    def grown(self) -> float:
        """By what the weights that stay are multiplied."""
        return 1.0 if self.dropped is None else self.dropped.grown

    @property
    def together(self) -> int:
        """Heads that are better not torn apart: of one text, where weights are dropped."""
        return 1 if self.dropped is None else self.dropped.row[-3]


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
        for piece in _pieces(q, k, mask, bias, way):
            weights, _ = _weights(q[piece.ours], k[piece.theirs], sinks, piece, way)
            weights = weights[..., : piece.seen]
            piece.drop(way, keys, weights)
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
        for piece in _pieces(q, k, mask, bias, way):
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
                grad_bias[piece.of_bias(grad_bias)] += of_scores.sum(0) if len(grad_bias) == 1 else of_scores
            if bent is not None:
                of_scores = torch.ops.aten.tanh_backward(of_scores, bent)
            grad_q[ours].baddbmm_(of_scores, k[theirs], beta=0, alpha=way.scale)
            grad_k[theirs].baddbmm_(of_scores.transpose(1, 2), q[ours], beta=kept, alpha=way.scale)
            del weights, of_scores, bent
        return grad_q, grad_k, grad_v, None, grad_bias, grad_sinks, None, None


@dataclass(frozen=True)
class _Piece:
    """Which heads and queries are computed at once, how many keys they see, and what is added to their scores."""

    heads: slice
    rows: slice
    seen: int
    texts: range  # those that are here, and
    numbers: range  # which of the heads of each; both are said where the heads differ in what is added or dropped
    mask: Tensor | None  # (1 or n, rows, seen), or of the last keys alone
    bias: Tensor | None  # (1 or n, rows, seen)

    @property
    def ours(self) -> tuple[slice, slice]:
        return self.heads, self.rows

    @property
    def theirs(self) -> tuple[slice, slice]:
        return self.heads, slice(self.seen)

    def of_bias(self, bias: Tensor) -> tuple[int | slice, int, slice, slice]:
        """Where in a bias (1 or texts, heads, Tq, Tk) this piece lies."""
        texts = 0 if len(bias) == 1 else slice(self.texts.start, self.texts.stop)
        return texts, self.numbers.start, self.rows, slice(self.seen)

    def drop(self, way: Way, keys: Tensor | None, *parts: Tensor) -> None:
        """Set to 0 in each of ``parts`` (n, rows, seen), in place, what is dropped of this piece."""
        if way.dropped is not None and keys is not None:
            way.dropped.drop(keys, self.texts, self.numbers, self.rows, *parts)


def _pieces(q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None, way: Way) -> Iterator[_Piece]:
    """Of heads that have what is added in common. Of fake tensors, which have no numbers to miss, two of the largest: in the second as much is held as ever is."""
    found = _all_pieces(q, k, mask, bias, way)
    return islice(found, 2) if isinstance(q, FakeTensor) else found


def _all_pieces(q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None, way: Way) -> Iterator[_Piece]:
    (count, queries, _), keys = q.shape, k.shape[1]
    for first in reversed(range(0, queries, way.block)):
        rows = slice(first, min(first + way.block, queries))
        seen = keys if way.block >= queries else rows.stop
        at_once = max(1, SCORES_AT_ONCE // ((rows.stop - first) * seen))
        several = mask is not None and mask.shape[0] > 1
        for heads, texts, numbers in _heads(count, at_once, way, one_number=bias is not None, one_text=several):
            hidden = None if mask is None else _hidden(mask, texts, rows, seen)
            piece = _Piece(heads, rows, seen, texts, numbers, hidden, None)
            yield piece if bias is None else _biased(piece, bias, q.dtype)


def _heads(count: int, at_once: int, way: Way, *, one_number: bool, one_text: bool) -> Iterator[tuple[slice, range, range]]:
    """Which of all ``count`` heads are computed at once, the texts, and which of their heads: those of one number in several texts, of one text, or any."""
    heads, texts = way.heads, count // way.heads
    if one_number or (
        way.dropped is not None and not one_text and at_once < heads
    ):  # what is drawn is hashed once for the texts
        for number in range(heads):
            for i in range(0, texts, at_once):
                there = range(i, min(i + at_once, texts))
                yield slice(number + i * heads, number + (there.stop - 1) * heads + 1, heads), there, range(number, number + 1)
    elif one_text:
        at_once -= at_once % way.together if at_once > way.together else 0
        for text in range(texts):
            for i in range(0, heads, at_once):
                numbers = range(i, min(i + at_once, heads))
                yield slice(text * heads + i, text * heads + numbers.stop), range(text, text + 1), numbers
    else:
        at_once -= at_once % way.together
        for i in range(0, count, at_once):
            last = min(i + at_once, count)
            yield slice(i, last), range(i // heads, -(-last // heads)), range(heads)


def _hidden(mask: Tensor, texts: range, rows: slice, seen: int) -> Tensor:
    mask = mask if mask.shape[0] == 1 else mask[texts.start : texts.stop]
    if mask.shape[1] >= rows.stop:
        return mask[:, rows, :seen]
    size = rows.stop - rows.start
    return mask[:, :size, :size]  # of a triangle, whose last block may be smaller


def _weights(q: Tensor, k: Tensor, sinks: Tensor | None, piece: _Piece, way: Way) -> tuple[Tensor, Tensor | None]:
    """(n, rows, seen), with a column more where heads have sinks; and the tanh of scores that are capped."""
    scores, bent = _scores(q, k, piece, way)
    if sinks is not None:
        scores = torch.cat((scores, sinks[piece.heads].to(scores.dtype)[:, None, None].expand(-1, scores.shape[1], 1)), -1)
    return torch.softmax(scores, -1), bent


def _scores(q: Tensor, k: Tensor, piece: _Piece, way: Way) -> tuple[Tensor, Tensor | None]:
    """(n, rows, seen), and the tanh of those that are capped."""
    added = [x for x in (piece.bias, piece.mask) if x is not None]
    bent: Tensor | None = None
    if way.soft_cap is not None:
        bent = _product(q, k, way.scale / way.soft_cap).tanh_()
        scores = bent * way.soft_cap
    elif (
        added and added[0].shape[2] == k.shape[1]
    ):  # the product added onto it in one pass; written, since selective checkpointing keeps what is returned
        first, scores = added.pop(0), q.new_empty(*q.shape[:2], k.shape[1])
        torch.baddbmm(first.expand(q.shape[0], -1, -1), q, k.transpose(1, 2), alpha=way.scale, out=scores)
    else:
        scores = _product(q, k, way.scale)
    for x in added:
        scores[:, :, -x.shape[2] :].add_(x)
    return scores, bent


def _product(q: Tensor, k: Tensor, scale: float) -> Tensor:
    return q.new_empty(q.shape[0], q.shape[1], k.shape[1]).baddbmm_(q, k.transpose(1, 2), beta=0, alpha=scale)


def _biased(piece: _Piece, bias: Tensor, dtype: torch.dtype) -> _Piece:
    there = bias[piece.of_bias(bias)].to(dtype)
    return replace(piece, bias=there if there.dim() == 3 else there[None])
