"""Which source of a mixture each training token is from. Neighbours mostly share one, so runs of documents are kept, and not each document."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from components.corpus.arrays import Array, mapped

FILE = "train.sources.npy"
RUN = np.dtype(
    [("first", "<i8"), ("source", "<u4")]
)  # a document of the training split, and the source of it and of those that follow


class RunWriter:
    """Writes the runs of the training split: ``add`` the sources of its documents in order."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.array, self.last, self.size = Array(stack, folder / FILE, RUN), -1, 0

    def add(self, sources: np.ndarray) -> None:
        changes = np.flatnonzero(np.diff(sources.astype(np.int64), prepend=self.last))
        runs = np.zeros(len(changes), RUN)
        runs["first"], runs["source"] = self.size + changes, sources[changes]
        self.array.add(runs)
        self.last, self.size = int(sources[-1]), self.size + len(sources)


class Sources:
    """The sources of the tokens of a training split.

    Args:
        names: of the sources.
        folder: of the text.
        starts: where each document starts in the tokens.
        n_tokens: of the split.
    """

    def __init__(self, names: list[str], folder: Path, starts: np.ndarray, n_tokens: int) -> None:
        runs = mapped(folder / FILE)
        self.names, self.n_tokens = names, n_tokens
        self.which = runs["source"].astype(np.int64)
        self.bounds = np.append(starts[runs["first"]], n_tokens)  # tokens: where each run begins, and the end
        self.whole = np.bincount(self.which, np.diff(self.bounds), len(names))

    def counted(self, starts: np.ndarray, length: int) -> np.ndarray:
        """(sources,) tokens of each source in stretches of ``length`` tokens from ``starts`` on. The first token follows the last."""
        rounds, rest = divmod(length, self.n_tokens)
        ends = starts + rest
        beyond = ends[ends > self.n_tokens] - self.n_tokens
        first = np.concatenate([starts, np.zeros_like(beyond)])
        last = np.concatenate([np.minimum(ends, self.n_tokens), beyond])
        a, b = (np.searchsorted(self.bounds, at, side="right") - 1 for at in (first, last - 1))
        crossed = np.where(last > first, b - a + 1, 0)  # runs that a stretch lies in
        row = np.repeat(np.arange(len(first)), crossed)
        run = a[row] + np.arange(len(row)) - np.repeat(np.cumsum(crossed) - crossed, crossed)
        tokens = np.minimum(last[row], self.bounds[run + 1]) - np.maximum(first[row], self.bounds[run])
        return np.bincount(self.which[run], tokens, len(self.names)) + rounds * len(starts) * self.whole
