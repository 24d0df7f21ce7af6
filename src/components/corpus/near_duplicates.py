"""Near-duplicates by MinHash over all shards: documents whose sets of five words in a row are alike. Of a group of them the first stays.

Broder 1997, "On the resemblance and containment of documents". Signatures are compared in bands, so that alike documents meet in one of them with a
probability near 1 (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4); whoever meets the first of a band is compared with it by signature. Needs
the package datasketch. No more is held at once than a part of one band, however many documents and near-duplicates there are.
"""

from __future__ import annotations

import mmap
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np

from components.core.extras import lacking
from components.corpus.arrays import Array, mapped
from components.corpus.duplicates import DIGESTS, PLACE, Repeated
from components.corpus.order import mixed
from components.corpus.records import Tick
from components.corpus.store import Meta

PERMUTATIONS, SEED, WORDS = 128, 1, 5
AT_ONCE = 2**12  # runs of words of a document that are hashed at once
PAIRS = 2**15  # whose signatures are compared at once: 32 MB
WORD = re.compile(r"\w+")
KEY = np.dtype([("key", "<u8"), ("place", PLACE)])
EDGE = np.dtype([("first", PLACE), ("other", PLACE)])
EDGES = "edges.npy"


@dataclass(frozen=True)
class Bands:
    """Into how many bands of how many numbers a signature is divided, for documents that are alike by ``threshold`` (Jaccard)."""

    threshold: float
    count: int
    each: int


def bands_of(threshold: float) -> Bands:
    """The bands that miss and mistake the fewest. UserError if datasketch is not installed."""
    found = _library().MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    return Bands(threshold, found.b, found.r)


def _library() -> ModuleType:
    try:
        import datasketch  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise lacking("task.near_duplicates", f"needs the package datasketch ({e})", "datasketch") from None
    return datasketch


def shingles(text: str) -> Iterator[bytes]:
    """The sets of words in a row: of ``a b c d e f`` a to e and b to f. Letters' case and signs do not count."""
    words = WORD.findall(text.lower())
    return (" ".join(words[i : i + WORDS]).encode() for i in range(max(1, len(words) - WORDS + 1)))


class Signatures:
    """The signatures of a segment's documents: ``add`` the texts in order, then ``take`` them."""

    def __init__(self) -> None:
        self.empty = _library().MinHash(num_perm=PERMUTATIONS, seed=SEED)
        self.made = bytearray()

    def add(self, text: str) -> None:
        found, runs = self.empty.copy(), shingles(text)
        while some := [*islice(runs, AT_ONCE)]:  # the library makes 128 numbers of each
            found.update_batch(some)
        self.made += found.hashvalues.astype("<u4").tobytes()

    def take(self) -> np.ndarray:
        """(documents, 128) uint32."""
        made, self.made = self.made, bytearray()
        return np.frombuffer(made, "<u4").reshape(-1, PERMUTATIONS)


def find_alike(folder: Path, tick: Tick, files: Sequence[Path], bands: Bands, band: int) -> Meta:
    """Write which documents are alike by one band: each with the first in its group. ``files``: the signatures of each segment.

    Documents are divided by what they have in the band, into parts that are looked at one after another. Of a part the first of each group is held
    alone, so that no group, however large, makes a part large.
    """
    parts = -(-sum(len(mapped(file)) for file in files) // DIGESTS)
    columns = slice(band * bands.each, (band + 1) * bands.each)
    with ExitStack() as stack:
        edges = Array(stack, folder / EDGES, EDGE)
        for part in range(parts):
            first, waiting, count = np.zeros(0, KEY), [], 0
            for number, file in enumerate(files):
                waiting.append(_keys(file, columns, number, part, parts))
                count += len(waiting[-1])
                if count >= DIGESTS or number + 1 == len(files):
                    first, found = _grouped(np.concatenate([first, *waiting]))
                    for i in range(0, len(found), PAIRS):
                        some = found[i : i + PAIRS]
                        edges.add(some[_alike(some, files, bands.threshold)])
                    waiting, count = [], 0
    tick(1)
    return {}


def _keys(file: Path, columns: slice, number: int, part: int, parts: int) -> np.ndarray:
    """What a segment's documents of this part have in a band, as one number."""
    rows = np.array(mapped(file)[:, columns])
    key = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        key = mixed(key ^ column.astype(np.uint64))
    mine = np.flatnonzero(key % np.uint64(parts) == part)
    keys = np.zeros(len(mine), KEY)
    keys["key"], keys["place"]["segment"], keys["place"]["index"] = key[mine], number, mine
    return keys


def _grouped(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of keys in the order of the source: the first of each, and all others with their first."""
    keys = keys[np.argsort(keys["key"], kind="stable")]
    other = np.zeros(len(keys), bool)
    other[1:] = keys["key"][1:] == keys["key"][:-1]
    heads = np.maximum.accumulate(np.where(other, 0, np.arange(len(keys))))
    edges = np.zeros(int(other.sum()), EDGE)
    edges["first"], edges["other"] = keys["place"][heads[other]], keys["place"][other]
    return keys[~other], edges


def _alike(edges: np.ndarray, files: Sequence[Path], threshold: float) -> np.ndarray:
    """Which pairs have signatures that are equal in a share of at least ``threshold``."""
    equal = _signatures(edges["first"], files) == _signatures(edges["other"], files)
    return equal.mean(axis=1) >= threshold


def _signatures(places: np.ndarray, files: Sequence[Path]) -> np.ndarray:
    """(places, 128): one file after another, so that one alone is mapped."""
    made = np.empty((len(places), PERMUTATIONS), "<u4")
    order = np.argsort(places["segment"], kind="stable")
    segments, starts = np.unique(places["segment"][order], return_index=True)
    for segment, mine in zip(segments, np.split(order, starts[1:])):
        made[mine] = mapped(files[segment])[places["index"][mine]]
    return made


class Groups:
    """The documents that are alike, through others too: all but the first of each group.

    Args:
        folders: those of ``find_alike``.
        signatures: the signatures of each segment.
    """

    def __init__(self, folders: Sequence[Path], signatures: Sequence[Path]) -> None:
        self.folders = folders
        self.starts = np.cumsum([0, *(len(mapped(file)) for file in signatures)])  # the number of each segment's first document

    def write(self, folder: Path) -> Repeated:
        """Their places in a file."""
        folder.mkdir(parents=True, exist_ok=True)
        repeated = Repeated([folder])
        with ExitStack() as stack:
            places = Array(stack, repeated.files[0], PLACE)
            back = stack.enter_context((folder / "back").open("w+b"))
            back.truncate(8 * max(1, int(self.starts[-1])))  # holes, where no document is alike to another
            held = stack.enter_context(mmap.mmap(back.fileno(), 0))
            self._join(held)
            for i in range(0, int(self.starts[-1]), 2**20):
                size = min(2**20, int(self.starts[-1]) - i)
                back.seek(8 * i)
                others = i + np.flatnonzero(np.frombuffer(back.read(8 * size), np.uint64))
                found = np.zeros(len(others), PLACE)
                found["segment"] = np.searchsorted(self.starts, others, side="right") - 1
                found["index"] = others - self.starts[found["segment"]]
                places.add(found)
        return repeated

    def _join(self, held: mmap.mmap) -> None:
        """For each document how far before it another of its group stands; 0: it is the first."""
        with memoryview(held) as data, data.cast("Q") as back:

            def root(document: int) -> int:
                while step := back[document]:
                    if more := back[document - step]:
                        back[document] = step = step + more
                    document -= step
                return document

            for folder in self.folders:
                edges = mapped(folder / EDGES)
                for i in range(0, len(edges), PAIRS):
                    some = edges[i : i + PAIRS]
                    ends = [(self.starts[some[end]["segment"]] + some[end]["index"]).tolist() for end in ("first", "other")]
                    for a, b in zip(*ends):
                        one, other = root(a), root(b)
                        if one != other:
                            back[max(one, other)] = abs(one - other)
                    if sys.platform != "win32":
                        held.madvise(mmap.MADV_DONTNEED)  # what was changed is the file's, and no longer this process's
