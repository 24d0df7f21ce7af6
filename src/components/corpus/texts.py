"""The cleaned text on disk, by split: UTF-8, and the end of each document. A new tokenizer need not read the source again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.core.errors import UserError
from components.corpus.clean import Report, clean
from components.corpus.document import Document
from components.corpus.store import Meta

SPLITS = ("train", "validation", "test")
Progress = Callable[[str, int, int | None], None]  # (what, done, of how many if that is known)


def drawn(digest: bytes, seed: int) -> float:
    """A number in [0, 1) determined by a text and a seed."""
    return int.from_bytes(hashlib.blake2b(digest, digest_size=8, key=str(seed).encode()).digest(), "big") / 2**64


@dataclass(frozen=True)
class Cleaning:
    """The settings that decide each text's split: part of every cache key."""

    seed: int
    validation: float
    test: float
    max_chars: int

    def split_of(self, digest: bytes) -> str:
        """The split of a document. It depends only on its text and the seed, so no other document can move it."""
        u = drawn(digest, self.seed)
        return "test" if u < self.test else "validation" if u < self.test + self.validation else "train"


def write_texts(
    folder: Path, documents: Callable[[], Iterable[Document]], cleaning: Cleaning, progress: Progress
) -> tuple[Report, Meta]:
    """Clean, split and write; the report, and what to remember: hash of all text, bytes and documents by split."""
    report, meta, nearest = _write(folder, documents(), cleaning, progress, None)
    if cleaning.validation > 0 and not report.documents["validation"] and report.documents["train"] > 1:
        report, meta, _ = _write(folder, documents(), cleaning, progress, nearest)
        report.notes.append(f"only {report.kept} documents: one was held out for validation, more than its share")
    if cleaning.test > 0 and not report.documents["test"]:
        report.notes.append("no document fell into the test split")
    return report, meta


def _write(
    folder: Path, documents: Iterable[Document], cleaning: Cleaning, progress: Progress, held_out: bytes | None
) -> tuple[Report, Meta, bytes]:
    """As ``write_texts``, ``held_out`` going to validation; and the training document that is nearest to validation."""
    report = Report()
    whole = hashlib.blake2b(digest_size=16)
    ends: dict[str, list[int]] = {split: [] for split in SPLITS}
    at: dict[str, int] = dict.fromkeys(SPLITS, 0)
    nearest = (1.0, b"")
    with ExitStack() as stack:
        files = {split: stack.enter_context((folder / f"{split}.txt").open("wb")) for split in SPLITS}
        for digest, pieces in clean(documents, report, max_chars=cleaning.max_chars):
            split = "validation" if digest == held_out else cleaning.split_of(digest)
            if split == "train":
                nearest = min(nearest, (drawn(digest, cleaning.seed), digest))
            whole.update(digest)
            for piece in pieces:
                at[split] += files[split].write(piece.encode("utf8"))
                ends[split].append(at[split])
            if report.read % 256 == 0:
                progress("reading text", report.read, None)
    progress("reading text", report.read, report.read)
    for split in SPLITS:
        np.save(folder / f"{split}.ends.npy", np.asarray(ends[split], dtype=np.int64))
    report.documents = {split: len(ends[split]) for split in SPLITS}
    return report, {"text_hash": whole.hexdigest(), "n_bytes": at, "n_documents": report.documents}, nearest[1]


def read_texts(folder: Path, split: str) -> Iterator[str]:
    """The documents of a split, in the order of the source."""
    ends = np.load(folder / f"{split}.ends.npy", mmap_mode="r")
    start = 0
    with (folder / f"{split}.txt").open("rb") as f:
        for end in ends.tolist():
            yield f.read(end - start).decode("utf8")
            start = end


def require_splits(report: Report, validation: float) -> None:
    """UserError if no text is left to train or to validate on."""
    if report.kept == 0:
        met = ", ".join(f"{n} {reason}" for reason, n in report.counts.items() if n) or "the source gave none"
        example = next((e for examples in report.examples.values() for e in examples), "")
        raise UserError(
            "data", f"none of the {report.called} is left after cleaning ({met}{': ' + example if example else ''})"
        )
    if report.documents["train"] == 0 or (validation > 0 and report.documents["validation"] == 0):
        empty = "train" if report.documents["train"] == 0 else "validation"
        raise UserError(
            "data",
            f"{report.kept} {report.called} leave the {empty} split empty",
            f"give more{' or smaller' if report.called == 'documents' else ''} {report.called}, or another share for validation",
        )
