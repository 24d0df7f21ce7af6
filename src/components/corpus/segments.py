"""The documents of a shard on disk, before duplicates are known: their text by split, and a record of each. Memory does not grow with the shard.

A segment is a file of text (training, validation, test, one after the other), the records of its documents, and their digests in order.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from functools import cached_property
from pathlib import Path

import numpy as np

from components.corpus.clean import Report, cut, first_bad
from components.corpus.document import Document
from components.corpus.near_duplicates import Signatures
from components.corpus.records import DIGEST, RECORD, Tick
from components.corpus.shards import Shard
from components.corpus.store import Meta
from components.corpus.texts import SPLITS, Cleaning

TEXT, DOCUMENTS = 32 * 2**20, 2**18  # of a segment, at most: bytes (and the last document), documents


class Writer:
    """Writes the segments of one shard.

    Args:
        folder: an empty folder.
        cleaning: the settings.
        report: counts what is read and what is dropped at once: the empty and the undecodable.
    """

    def __init__(self, folder: Path, cleaning: Cleaning, report: Report) -> None:
        self.folder, self.cleaning, self.report = folder, cleaning, report
        self.segments: list[int] = []  # different documents of each
        self.nearest = (1.0, b"")  # the training document that is nearest to validation
        self.sources: dict[str, int] = {}
        self.signatures = None if cleaning.near_duplicates is None else Signatures()
        self._empty()

    def _empty(self) -> None:
        self.texts = [bytearray() for _ in SPLITS]
        self.lengths = [array("q") for _ in SPLITS]  # bytes of each piece
        self.digests = bytearray()
        self.split, self.pieces, self.characters, self.line = array("B"), array("L"), array("q"), array("q")
        self.source = array("L")
        self.origins: list[tuple[int, str]] = []  # the first document of each, since neighbours mostly share one

    def add(self, document: Document) -> None:
        self.report.read += 1
        text = document.text
        if not text or text.isspace():
            self.report.met("empty", document.where)
            return
        try:
            encoded = text.encode("utf8")
        except UnicodeEncodeError:
            self.report.met("undecodable", first_bad(document))
            return
        digest = hashlib.blake2b(encoded, digest_size=16).digest()
        u = self.cleaning.drawn(digest)
        split = self.cleaning.split_at(u)
        if split == 0 and u <= self.nearest[0]:
            self.nearest = min(self.nearest, (u, digest))
        most = self.cleaning.max_chars
        pieces = [encoded] if len(text) <= most else [piece.encode("utf8") for piece in cut(text, most)]
        for piece in pieces:
            self.texts[split] += piece
            self.lengths[split].append(len(piece))
        if not self.origins or self.origins[-1][1] != document.origin:
            self.origins.append((len(self.split), document.origin))
        self.digests += digest
        if self.signatures is not None:
            self.signatures.add(text)
        self.split.append(split)
        self.pieces.append(len(pieces))
        self.characters.append(len(text))
        self.line.append(document.line)
        self.source.append(self.sources.setdefault(document.source, len(self.sources)))
        if len(self.split) >= DOCUMENTS or sum(map(len, self.texts)) >= TEXT:
            self.flush()

    def flush(self) -> None:
        """Write what was added as a segment."""
        if not self.split:
            return
        name = f"{len(self.segments):05d}"
        with (self.folder / f"{name}.txt").open("wb") as f:
            for text in self.texts:
                f.write(text)
        records = np.zeros(len(self.split), RECORD)
        words = np.frombuffer(self.digests, ">u8").reshape(-1, 2)
        records["high"], records["low"] = words[:, 0], words[:, 1]
        for field in ("split", "pieces", "characters", "line", "source"):
            held: array[int] = getattr(self, field)
            records[field] = np.frombuffer(held, held.typecode)
        order = np.lexsort((records["low"], records["high"]))  # stable: of equal ones the first stays the first
        ordered = records[order]
        repeated = np.zeros(len(order), bool)
        repeated[1:] = (ordered["high"][1:] == ordered["high"][:-1]) & (ordered["low"][1:] == ordered["low"][:-1])
        records["repeated"][order] = repeated
        different = np.zeros(len(order) - int(repeated.sum()), DIGEST)
        different["high"], different["low"] = ordered["high"][~repeated], ordered["low"][~repeated]
        different["index"] = order[~repeated]
        np.save(self.folder / f"{name}.digests.npy", different)
        np.save(self.folder / f"{name}.records.npy", records)
        lengths = [np.frombuffer(of, "<i8") for of in self.lengths if of]
        np.save(self.folder / f"{name}.lengths.npy", np.concatenate(lengths))
        np.save(self.folder / f"{name}.origins.npy", np.frombuffer(json.dumps(self.origins).encode(), np.uint8))
        if self.signatures is not None:
            np.save(signatures_of(self.folder, len(self.segments)), self.signatures.take())
        self.segments.append(len(different))
        self._empty()


class Segment:
    """One that was written. At most its text is held, while it is asked for."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.name = folder, f"{number:05d}"
        self.records = np.load(folder / f"{self.name}.records.npy")
        lengths = np.load(folder / f"{self.name}.lengths.npy")
        self.members = [np.flatnonzero(self.records["split"] == s) for s in range(len(SPLITS))]  # documents, in order
        counts = [int(self.records["pieces"][m].sum()) for m in self.members]
        self.lengths = np.split(lengths, np.cumsum(counts)[:-1])  # bytes of the pieces, by split
        self.sizes = [int(of.sum()) for of in self.lengths]

    @property
    def digests(self) -> Path:
        return digests_of(self.folder, int(self.name))

    def text(self, split: int) -> np.ndarray:
        """The text of a split as bytes."""
        return np.fromfile(self.folder / f"{self.name}.txt", np.uint8, self.sizes[split], offset=sum(self.sizes[:split]))

    @cached_property
    def _origins(self) -> list[tuple[int, str]]:
        return json.loads(np.load(self.folder / f"{self.name}.origins.npy").tobytes())

    def where(self, document: int) -> str:
        """Where a document stands in the source."""
        at = np.searchsorted([first for first, _ in self._origins], document, side="right") - 1
        return Document("", self._origins[int(at)][1], int(self.records["line"][document])).where

    def beginning(self, document: int, characters: int) -> str:
        """The first characters of a document."""
        split = int(self.records["split"][document])
        before = int(np.searchsorted(self.members[split], document))
        pieces = self.records["pieces"][self.members[split]].astype(np.int64)
        first = int(pieces[:before].sum())
        start = int(self.lengths[split][:first].sum())
        size = int(self.lengths[split][first : first + int(pieces[before])].sum())
        with (self.folder / f"{self.name}.txt").open("rb") as f:
            f.seek(sum(self.sizes[:split]) + start)
            return f.read(min(size, 4 * characters)).decode("utf8", errors="ignore")[:characters]


def digests_of(folder: Path, number: int) -> Path:
    """The file of a segment's different digests, in order."""
    return folder / f"{number:05d}.digests.npy"


def signatures_of(folder: Path, number: int) -> Path:
    """The file of a segment's MinHash signatures."""
    return folder / f"{number:05d}.signatures.npy"


def read_shard(folder: Path, tick: Tick, shard: Shard, cleaning: Cleaning) -> Meta:
    """Read a shard into ``folder``; the meta: what its report says so far, documents of each segment, the one nearest to validation,
    and the names of sources."""
    report = Report()
    writer = Writer(folder, cleaning, report)
    told = 0
    for document in shard.documents():
        writer.add(document)
        if report.read % 256 == 0:
            tick(256)
            told += 256
    writer.flush()
    tick(report.read - told)
    return {
        "read": report.read,
        "counts": report.counts,
        "examples": report.examples,
        "segments": writer.segments,
        "nearest": [writer.nearest[0], writer.nearest[1].hex()],
        "notes": list(shard.notes),
        "sources": list(writer.sources),
    }
