"""The cleaned text on disk, by split: UTF-8, and the end of each document. A new tokenizer need not read the source again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from components.core.errors import UserError
from components.corpus.arrays import mapped
from components.corpus.clean import Report

SPLITS = ("train", "validation", "test")
STRETCH = 2**16  # ends that are held as Python numbers at once
Progress = Callable[[str, int, int | None], None]  # (what, done, of how many if that is known)


def drawn(digest: bytes, seed: int) -> float:
    """A number in [0, 1) determined by a text and a seed."""
    return int.from_bytes(hashlib.blake2b(digest, digest_size=8, key=str(seed).encode()).digest(), "big") / 2**64


@dataclass(frozen=True)
class Cleaning:
    """The settings that decide each text's split, and what is a duplicate: part of every cache key.

    ``near_duplicates``: how alike two documents are (Jaccard) of which one is left out; None: only what is equal.
    """

    seed: int
    validation: float
    test: float
    max_chars: int
    near_duplicates: float | None = None

    def key(self) -> dict[str, float]:
        """What cache keys have of them; as before there were near-duplicates, where none are sought."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def split_of(self, digest: bytes) -> str:
        """The split of a document. It depends only on its text and the seed, so no other document can move it."""
        return SPLITS[self.split_at(self.drawn(digest))]

    def drawn(self, digest: bytes) -> float:
        return drawn(digest, self.seed)

    def split_at(self, u: float) -> int:
        """The number of the split in which a document lies whose text draws ``u``."""
        return 2 if u < self.test else 1 if u < self.test + self.validation else 0


def read_texts(folder: Path, split: str, first: int = 0, last: int | None = None) -> Iterator[str]:
    """The documents of a split, in the order of the source; of them those from ``first`` to before ``last``."""
    ends = ends_of(folder, split)
    last = len(ends) if last is None else last
    start = int(ends[first - 1]) if first else 0
    with (folder / f"{split}.txt").open("rb") as f:
        f.seek(start)
        for i in range(first, last, STRETCH):
            for end in ends[i : min(i + STRETCH, last)].tolist():
                yield f.read(end - start).decode("utf8")
                start = end


def ends_of(folder: Path, split: str) -> np.ndarray:
    """Where each document of a split ends, in bytes: mapped from disk."""
    return mapped(folder / f"{split}.ends.npy")


def require_splits(report: Report, validation: float) -> None:
    """UserError if no text is left to train or to validate on."""
    if report.kept == 0:
        met = ", ".join(f"{n} {reason}" for reason, n in report.counts.items() if n) or "the source gave none"
        example = next((e for examples in report.examples.values() for e in examples), "")
        instead = "save the text as UTF-8" if report.counts["undecodable"] == report.read else "see that the data have any text"
        raise UserError(
            "data", f"none of the {report.called} is left after cleaning ({met}{': ' + example if example else ''})", instead
        )
    if report.documents["train"] == 0 or (validation > 0 and report.documents["validation"] == 0):
        empty = "train" if report.documents["train"] == 0 else "validation"
        raise UserError(
            "data",
            f"{report.kept} {report.called} leave the {empty} split empty",
            f"give more{' or smaller' if report.called == 'documents' else ''} {report.called}, or another share for validation",
        )
