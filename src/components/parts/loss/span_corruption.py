"""An encoder reads text from which spans are missing, and a decoder writes them.

Raffel et al. 2019 (T5), arXiv:1910.10683, section 3.1.4, with the spans of ``random_spans_noise_mask`` in its code
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import Fraction, NonNegative, Positive, PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._objective import asked_only, changeable, gathered, text_of
from components.parts.loss._tokens import Head, need_targets, summed_cross_entropy


@register("loss", "span_corruption")
class SpanCorruption:
    """Span corruption: a sentinel stands for each missing span, and the decoder writes each sentinel with its span after it.

    ``a b c d e f`` becomes the source ``a S0 d S1 f`` and the text ``S0 b c S1 e S2``: the first sentinel is given to the decoder, what
    follows is asked for. Documents stay apart, and their first tokens stay where they are.

    Args:
        vocab_size: number of tokens that the tokenizer has.
        rate: share of the tokens that are missing.
        span: mean length of a span, in tokens.
        sentinels: how many there are; a row has at most one span less.
        first_sentinel: S0; null: the ids beyond the tokenizer's, which the model has more for.
        descending: whether S1 is S0 - 1, as in T5, where S0 is the last id of all.
        label_smoothing: share of each target that is spread over all tokens.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    needs = {"model": ("source",)}
    refuses = {"head": ("causal",)}
    provides = ("tokens",)
    likelihood = False
    whole = True  # documents with all that their tokenizer puts around them; none of it is missing

    def __init__(
        self,
        vocab_size: int,
        *,
        rate: Fraction = 0.15,
        span: PositiveFloat = 3.0,
        sentinels: Positive = 100,
        first_sentinel: NonNegative | None = None,
        descending: bool = False,
        label_smoothing: Fraction = 0.0,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        if sentinels < 2:
            raise ValueError(f"sentinels={sentinels}: one for a span and one for the end are the least")
        self.extra_tokens = sentinels if first_sentinel is None else 0
        if first_sentinel is None:
            first_sentinel = vocab_size + (sentinels - 1 if descending else 0)
        self.first_sentinel, self.step, self.sentinels = first_sentinel, -1 if descending else 1, sentinels
        last = first_sentinel + self.step * (sentinels - 1)
        if min(first_sentinel, last) < 0 or max(first_sentinel, last) >= vocab_size + self.extra_tokens:
            raise ValueError(f"sentinels {first_sentinel} to {last} are not among the tokenizer's {vocab_size} ids")
        self.vocab_size, self.rate, self.span = vocab_size, rate, span
        self.label_smoothing, self.chunk = label_smoothing, chunk

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        ids = text_of(batch, "span_corruption")
        missing = spans(ids.shape[0], ids.shape[1], self.rate, self.span, generator).to(ids.device) & changeable(batch)
        begins = missing.clone()
        begins[:, 1:] &= ~missing[:, :-1]
        number = begins.cumsum(1) - 1  # of the span that a missing token is in
        missing, begins = (x & (number < self.sentinels - 1) for x in (missing, begins))
        sentinel = self.first_sentinel + self.step * number
        valid = torch.ones_like(missing) if batch.valid is None else batch.valid
        source, at = gathered(batch, ((valid & ~missing) | begins).long())
        put(source, at, torch.where(begins, sentinel, ids), (valid & ~missing) | begins)
        text, at = gathered(batch, missing.long() + begins.long())
        put(text, at, sentinel, begins)
        put(text, at + begins.long(), ids, missing)
        follows = text.ids.roll(-1, 1)
        length = (missing.long() + begins.long()).sum(1)
        rows = length.nonzero()[:, 0]  # what ends a row is asked for as the sentinel of the next span
        follows[rows, length[rows] - 1] = self.first_sentinel + self.step * begins.sum(1)[rows]
        there = torch.arange(text.ids.shape[1], device=ids.device) < length[:, None]
        return replace(text, targets=asked_only(follows, there), source=source)

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        need_targets(batch, "span_corruption", "its prepare(batch, generator) makes them")
        options = {"vocab_size": self.vocab_size, "chunk": self.chunk, "label_smoothing": self.label_smoothing}
        loss, _, weight = summed_cross_entropy(hidden, head, batch, **options)
        return Terms({"loss": (loss, weight)})


def put(batch: Batch, at: Tensor, values: Tensor, where: Tensor) -> None:
    """``batch.ids[b, at[b, t]] = values[b, t]`` where ``where``."""
    row, column = where.nonzero(as_tuple=True)
    batch.ids[row, at[row, column]] = values[row, column]


def spans(rows: int, length: int, rate: float, mean: float, generator: torch.Generator) -> Tensor:
    """(B, T) True in the spans: as many tokens and spans in every row, cut at random, each after a stretch that stays.

    Then each row is turned by a random offset (``random_roll`` there): without, the last span always ends the row, and in rows of up to 30
    tokens it is the only one.
    """
    if length < 2:
        return torch.zeros(rows, length, dtype=torch.bool)
    missing = min(max(round(length * rate), 1), length - 1)
    count = min(max(round(missing / mean), 1), missing, length - missing)
    kept, gone = (segments(rows, n, count, generator) for n in (length - missing, missing))
    ends = torch.stack((kept, gone), 2).flatten(1).cumsum(1)  # kept, gone, kept, gone, ...
    turned = torch.randint(length, (rows, 1), generator=generator, device=generator.device)
    at = (torch.arange(length, device=ends.device) + turned) % length
    return torch.searchsorted(ends, at, right=True) % 2 == 1


def segments(rows: int, items: int, count: int, generator: torch.Generator) -> Tensor:
    """(B, count) lengths of at least 1 that add up to ``items``, every way to cut equally likely."""
    order = torch.rand(rows, items - 1, generator=generator, device=generator.device).argsort(1)
    cuts = order[:, : count - 1].sort(1).values + 1
    edges = torch.cat((cuts.new_zeros(rows, 1), cuts, cuts.new_full((rows, 1), items)), 1)
    return edges.diff(dim=1)
