"""Some documents are cut in three and their middle is moved to the end, so that a causal model learns to fill gaps.

Bavarian et al. 2022, arXiv:2207.14255: context-level, sections 3 and 4.4; cut between any two tokens
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Batch, Terms
from components.functional.cross_entropy import IGNORED
from components.parts.loss._objective import drawn, positions_of, text_of
from components.parts.loss._tokens import Chunk, Head, need_targets, summed_cross_entropy


@register("loss", "fill_in_the_middle")
class FillInTheMiddle:
    """Fill in the middle: next-token cross entropy of text in which some documents read ``PRE prefix SUF suffix MID middle``.

    Three more tokens for each document that is cut; what a row then has too many at its end is left out. Documents stay apart.

    Args:
        vocab_size: number of tokens that the tokenizer has.
        rate: share of the documents that are cut.
        suffix_first: share of those that read ``PRE SUF suffix MID prefix middle``.
        marks: the ids of PRE, SUF and MID; null: three beyond the tokenizer's, which the model has more for.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("tokens",)
    likelihood = False  # the text is another one

    def __init__(
        self,
        vocab_size: int,
        *,
        rate: Probability = 0.5,
        suffix_first: Probability = 0.5,
        marks: tuple[int, int, int] | None = None,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        if marks is not None and not all(0 <= m < vocab_size for m in marks):
            raise ValueError(f"marks={list(marks)} are not all among the tokenizer's {vocab_size} ids; null adds three")
        self.extra_tokens = 3 if marks is None else 0
        self.marks = tuple(range(vocab_size, vocab_size + 3)) if marks is None else tuple(marks)
        self.vocab_size, self.rate, self.suffix_first = vocab_size, rate, suffix_first
        self.chunk: Chunk = chunk

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        ids, targets = text_of(batch, "fill_in_the_middle"), need_targets(batch, "fill_in_the_middle")
        draws = drawn((*ids.shape, 4), generator, ids).tolist()  # a document takes those of its first place
        firsts = (positions_of(batch) == 0).tolist()
        valid = [ids.shape[1]] * len(ids) if batch.valid is None else batch.valid.sum(1).tolist()
        rows = [self._row(*row) for row in zip(ids.tolist(), targets.tolist(), firsts, valid, draws)]
        made = torch.tensor(rows, device=ids.device)
        there = made[:, 3] > 0
        documents = None if batch.documents is None else made[:, 2]
        return replace(
            batch, ids=made[:, 0], targets=made[:, 1], documents=documents, positions=None, valid=None if there.all() else there
        )

    def _row(
        self, ids: list[int], targets: list[int], firsts: list[bool], length: int, draws: list[list[float]]
    ) -> list[list[int]]:
        """[ids, targets, number of the document, 1 where there is a token] of one row, as long as before."""
        starts = [i for i in range(length) if i == 0 or firsts[i]]
        text: list[int] = []
        follows: list[int] = []
        numbers: list[int] = []
        for n, (start, end) in enumerate(zip(starts, [*starts[1:], length])):
            # a last token after which nothing is asked is the document's end, and stays there
            over = 1 if end < length and targets[end - 1] == IGNORED else 0
            piece, cut = self._cut(ids[start : end - over], draws[start])
            piece = [*piece, *ids[end - over : end]]
            text += piece
            # after the middle the document ends; where its end is not in the row, nothing is known to follow
            follows += [*piece[1:], targets[end - 1] if end < length else IGNORED] if cut else targets[start:end]
            numbers += [n] * len(piece)
        kept = min(len(text), len(ids))
        rest = len(ids) - kept
        return [
            text[:kept] + [0] * rest,
            follows[:kept] + [IGNORED] * rest,
            numbers[:kept] + [-1] * rest,
            [1] * kept + [0] * rest,
        ]

    def _cut(self, piece: list[int], draw: list[float]) -> tuple[list[int], bool]:
        """The document, the first of whose tokens stays where it is, and whether it was cut."""
        n = len(piece) - 1
        if n < 2 or draw[0] >= self.rate:
            return piece, False
        a, b = sorted(1 + int(d * (n + 1)) for d in draw[1:3])
        before, middle, after = piece[1:a], piece[a:b], piece[b:]
        pre, suf, mid = self.marks
        if draw[3] < self.suffix_first:
            return [piece[0], pre, suf, *after, mid, *before, *middle], True
        return [piece[0], pre, *before, suf, *after, mid, *middle], True

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        need_targets(batch, "fill_in_the_middle")
        loss, _, weight = summed_cross_entropy(hidden, head, batch, vocab_size=self.vocab_size, chunk=self.chunk)
        return Terms({"loss": (loss, weight)})
