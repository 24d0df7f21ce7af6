"""Packed blocks of a split, addressed by (seed, epoch, index): the same for every reader, in any order.

The split is read as a ring: the first document follows the last one. Each epoch starts cutting the ring into blocks at another
place and shuffles the blocks anew. Both depend on (seed, epoch) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from components.core.errors import UserError
from components.core.sockets import Batch
from components.corpus.corpus import Split
from components.corpus.example import Example
from components.corpus.framing import Frame
from components.corpus.order import EpochOrder, How


class Blocks:
    """Training blocks of ``context_length`` tokens and their targets.

    Args:
        split: what to read.
        context_length: T, tokens in a block.
        seed: decides the order and the cuts.
        shift: whether each epoch cuts at another place. If not, block ``i`` always starts at ``i * T``.
        whole: whether an encoder reads the documents, with all of their frames.
        how: how the order comes about; see ``EpochOrder``.
    """

    notes: Sequence[str] = ()  # nothing is left out of packed text
    examples: Sequence[Example] = ()  # it has none

    def __init__(
        self, split: Split, context_length: int, seed: int, *, shift: bool = True, whole: bool = False, how: How | None = None
    ) -> None:
        _require(split, context_length)
        self.split, self.context_length, self.seed, self.shift, self.whole = split, context_length, seed, shift, whole
        self.tokens_per_row = context_length
        self.n_tokens = len(split.tokens)
        self.n_blocks = max(1, self.n_tokens // context_length)  # what does not fill a block is in other epochs' blocks
        whole = self.n_tokens > context_length
        self._windows = sliding_window_view(split.tokens, context_length + 1) if whole else None
        self.order = EpochOrder(self.n_blocks, seed, how)

    def __reduce__(self) -> tuple[object, ...]:
        options = {"shift": self.shift, "whole": self.whole, "how": self.order.how}
        return partial(Blocks, **options), (self.split, self.context_length, self.seed)

    def starts(self, epoch: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """(B,) the places in the split where these blocks start."""
        offset = self.order.extra(epoch) % self.n_tokens if self.shift else 0
        return (offset + self.order.rows(epoch, indices, extra=True) * self.context_length) % self.n_tokens

    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:
        """ids, targets, documents and positions (B, T) of blocks ``indices`` (0 to ``n_blocks`` - 1) of ``epoch``."""
        return batch_of(self._rows(self.starts(epoch, indices)), self.split.frame, self.whole)

    def _rows(self, starts: np.ndarray) -> np.ndarray:
        """(B, T + 1) tokens from each start, around the ring."""
        last = self.n_tokens - self.context_length - 1
        if self._windows is None:
            return self._around(starts)
        beyond = starts > last
        if not beyond.any():
            return self._windows[starts]
        rows = self._windows[np.minimum(starts, last)]
        rows[beyond] = self._around(starts[beyond])
        return rows

    def _around(self, starts: np.ndarray) -> np.ndarray:
        return self.split.tokens[(starts[:, None] + np.arange(self.context_length + 1)) % self.n_tokens]


class EvaluationBlocks:
    """A split from start to end, with each target exactly once. The last block is padded.

    The sum of all negative log likelihoods, divided by ``n_bytes`` and ln 2, is bits per byte. ``n_targets`` counts every token
    of a text and the end of each document.
    """

    notes: Sequence[str] = ()  # nothing is left out of packed text
    examples: Sequence[Example] = ()  # it has none

    def __init__(self, split: Split, context_length: int, *, whole: bool = False) -> None:
        _require(split, context_length)
        self.split, self.context_length, self.whole = split, context_length, whole
        self.n_tokens = len(split.tokens)
        self.n_targets = self.n_tokens - split.n_documents * split.frame.unasked(whole)
        self.n_bytes, self.n_documents = split.n_bytes, split.n_documents
        self.n_blocks = -(-self.n_tokens // context_length)
        self.order = EpochOrder(self.n_blocks, None)

    def batch(self, epoch: int, indices: Sequence[int] | np.ndarray) -> Batch:  # noqa: ARG002  no epoch differs
        """Blocks ``indices`` in order. ``valid`` is there only if one of them is padded."""
        starts = np.asarray(indices, dtype=np.int64) * self.context_length
        at = starts[:, None] + np.arange(self.context_length + 1)
        rows = self.split.tokens[at % self.n_tokens]
        outside = at[:, :-1] >= self.n_tokens
        if not outside.any():
            return batch_of(rows, self.split.frame, self.whole)
        return batch_of(rows, self.split.frame, self.whole, outside)


def batch_of(rows: np.ndarray, frame: Frame, whole: bool = False, outside: np.ndarray | None = None) -> Batch:
    """A batch of (B, T + 1) tokens. A target is never another document's text, nor what its frame puts before it.

    With ``whole`` the targets are the tokens themselves, and -100 at the frame's: what a masking objective may ask for.
    """
    ids = rows[:, :-1].astype(np.int64)
    if outside is not None:
        ids[outside] = frame.mark
    starts = ids == frame.mark
    if frame.closing(whole):
        starts = np.pad(starts[:, :-1], ((0, 0), (1, 0)))
    targets = _whole_targets(ids, frame) if whole else _next_targets(rows[:, 1:].astype(np.int64), frame)
    place = np.arange(ids.shape[1], dtype=np.int64)
    documents = np.cumsum(starts, axis=1, dtype=np.int64)
    positions = place - np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    valid = None
    if outside is not None:
        targets[outside] = -100
        positions[outside] = 0
        valid = torch.from_numpy(~outside)
    give = torch.from_numpy
    return Batch(give(ids), give(targets), positions=give(positions), documents=give(documents), valid=valid)


def _next_targets(targets: np.ndarray, frame: Frame) -> np.ndarray:
    """The target after each token: ``end`` where the next document begins, -100 where the end was already said or the token is
    given."""
    if frame.mark != frame.end or frame.after:
        targets[targets == frame.mark] = frame.end if not (frame.before and frame.after) else -100
    for token in frame.before[1:]:
        targets[targets == token] = -100
    return targets


def _whole_targets(ids: np.ndarray, frame: Frame) -> np.ndarray:
    return np.where(np.isin(ids, (*frame.before, *frame.after)), -100, ids)


def _require(split: Split, context_length: int) -> None:
    if context_length < 1:
        raise ValueError(f"context_length={context_length} must be at least 1")
    if len(split.tokens) == 0:
        raise UserError("data", f"the {split.name} split is empty", "give more documents, or a larger share for it")
