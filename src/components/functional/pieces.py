"""Which heads and queries of attention are computed at once: few enough for the cache, and for nothing of T x T to be made.

A causal mask lets queries be taken in blocks, each against the keys up to its own last: what lies above the diagonal is not computed, and the mask is one small
triangle. As FlashAttention skips blocks: Dao 2023, arXiv:2307.08691, section 3.1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.functional.dropped_weights import Dropped

SCORES_AT_ONCE = 1 << 20  # of all heads together: small enough for the cache, large enough for the products


def causal_block(length: int) -> int:
    """How many queries at once, where none sees what comes later: few skip more of the square, many make larger products. Measured from 256 to 8,192."""
    return min(length, max(128, min(256, length // 4), length // 8))


def triangle(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(1, size, size): 0 where a query sees a key, -inf above the diagonal."""
    return torch.full((1, size, size), float("-inf"), dtype=dtype, device=device).triu_(1)


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


@dataclass(frozen=True)
class Piece:
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

    def of_bias(self, bias: Tensor) -> Tensor:
        """What a bias (1 or texts, heads, Tq, Tk) has for this piece, (1 or n, rows, seen): a view."""
        texts = slice(1) if len(bias) == 1 else slice(self.texts.start, self.texts.stop)
        return bias[texts, self.numbers.start : self.numbers.stop, self.rows, : self.seen].flatten(0, 1)

    def drop(self, way: Way, keys: Tensor | None, *parts: Tensor) -> None:
        """Set to 0 in each of ``parts`` (n, rows, seen), in place, what is dropped of this piece."""
        if way.dropped is not None and keys is not None:
            way.dropped.drop(keys, self.texts, self.numbers, self.rows, *parts)


def pieces_of(q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None, way: Way) -> Iterator[Piece]:
    """Of heads that have what is added in common. Of fake tensors, which have no numbers to miss, two of the largest: in the second as much is held as ever is."""
    found = _all_pieces(q, k, mask, bias, way)
    return islice(found, 2) if isinstance(q, FakeTensor) else found


def _all_pieces(q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None, way: Way) -> Iterator[Piece]:
    (count, queries, _), keys = q.shape, k.shape[1]
    for first in reversed(range(0, queries, way.block)):
        rows = slice(first, min(first + way.block, queries))
        seen = keys if way.block >= queries else rows.stop
        at_once = max(1, SCORES_AT_ONCE // ((rows.stop - first) * seen))
        several = mask is not None and mask.shape[0] > 1
        for heads, texts, numbers in _heads(count, at_once, way, one_number=bias is not None, one_text=several):
            hidden = None if mask is None else _hidden(mask, texts, rows, seen)
            piece = Piece(heads, rows, seen, texts, numbers, hidden, None)
            yield piece if bias is None else replace(piece, bias=piece.of_bias(bias).to(q.dtype))


def _heads(count: int, at_once: int, way: Way, *, one_number: bool, one_text: bool) -> Iterator[tuple[slice, range, range]]:
    """Which of all ``count`` heads are computed at once, the texts, and which of their heads: those of one number in several texts, of one text, or any."""
    heads, texts = way.heads, count // way.heads
    # what is drawn for heads of one number is hashed once for all texts
    by_number = one_number or (way.dropped is not None and at_once < heads and not one_text)
    if by_number and texts > 1:
        for number in range(heads):
            for i in range(0, texts, at_once):
                there = range(i, min(i + at_once, texts))
                yield slice(number + i * heads, number + (there.stop - 1) * heads + 1, heads), there, range(number, number + 1)
    elif by_number or one_text:
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
