"""Near-duplicates by MinHash over all shards: documents whose sets of five words in a row are alike. Of a group of them the first stays.

Broder 1997, "On the resemblance and containment of documents". Signatures are compared in bands, so that alike documents meet in one of them with a
probability near 1 (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4); whoever meets the first of a band is compared with it by signature. Needs
the package datasketch. Memory grows with the documents that are near-duplicates, and not with the corpus.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType

import numpy as np

from components.core.extras import lacking
from components.corpus.duplicates import DIGESTS, PLACE, Repeated
from components.corpus.records import Tick
from components.corpus.store import Meta

PERMUTATIONS, SEED, WORDS = 128, 1, 5
BATCH = 64  # documents whose signatures are made together
WORD = re.compile(r"\w+")
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


def shingles(text: str) -> list[bytes]:
    """The sets of words in a row: of ``a b c d e f`` a to e and b to f. Letters' case and signs do not count."""
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + WORDS]).encode() for i in range(max(1, len(words) - WORDS + 1))]


class Signatures:
    """The signatures of a segment's documents: ``add`` the texts in order, then ``take`` them."""

    def __init__(self) -> None:
        self.library = _library()
        self.waiting: list[list[bytes]] = []
        self.made: list[np.ndarray] = []

    def add(self, text: str) -> None:
        self.waiting.append(shingles(text))
        if len(self.waiting) >= BATCH:
            self._make()

    def _make(self) -> None:
        found = self.library.MinHash.bulk(self.waiting, num_perm=PERMUTATIONS, seed=SEED)
        self.made.append(np.array([m.hashvalues for m in found], dtype=np.uint64).astype("<u4"))
        self.waiting = []

    def take(self) -> np.ndarray:
        """(documents, 128) uint32."""
        if self.waiting:
            self._make()
        made, self.made = self.made, []
        return np.concatenate(made) if made else np.zeros((0, PERMUTATIONS), "<u4")


def find_alike(folder: Path, tick: Tick, files: Sequence[Path], bands: Bands, band: int) -> Meta:
    """Write which documents are alike by one band: each with the first in its group. ``files``: the signatures of each segment."""
    count = sum(len(np.load(file, mmap_mode="r")) for file in files)
    parts = -(-count // DIGESTS)
    found = [np.zeros(0, EDGE)]
    columns = slice(band * bands.each, (band + 1) * bands.each)
    for part in range(parts):
        held = []
        for number, file in enumerate(files):
            rows = np.load(file, mmap_mode="r")[:, columns]
            mine = np.flatnonzero(rows[:, 0] % parts == part).astype("<u4")
            keys = np.zeros(len(mine), [("key", "S16"), ("place", PLACE)])
            keys["key"] = [hashlib.blake2b(row.tobytes(), digest_size=15).digest() + b"." for row in np.array(rows[mine])]
            keys["place"]["segment"], keys["place"]["index"] = number, mine
            held.append(keys)
        keys = np.concatenate(held)
        keys = keys[np.argsort(keys["key"], kind="stable")]
        same = np.r_[False, keys["key"][1:] == keys["key"][:-1]]
        heads = np.maximum.accumulate(np.where(same, 0, np.arange(len(keys))))
        edges = np.zeros(int(same.sum()), EDGE)
        edges["first"], edges["other"] = keys["place"][heads[same]], keys["place"][same]
        found.append(edges[_alike(edges, files, bands.threshold)])
    np.save(folder / EDGES, np.concatenate(found))
    tick(1)
    return {}


def _alike(edges: np.ndarray, files: Sequence[Path], threshold: float) -> np.ndarray:
    """Which pairs have signatures that are equal in a share of at least ``threshold``."""
    maps = [np.load(file, mmap_mode="r") for file in files]
    pairs = ((maps[a[0]][a[1]] == maps[b[0]][b[1]]).mean() >= threshold for a, b in edges)
    return np.fromiter(pairs, bool, count=len(edges))


class Groups:
    """The documents that are alike, through others too: all but the first of each group."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.first: dict[tuple[int, int], tuple[int, int]] = {}
        for a, b in chain.from_iterable(np.load(folder / EDGES).tolist() for folder in folders):
            one, other = self._root(a), self._root(b)
            if one != other:
                self.first[max(one, other)] = min(one, other)

    def _root(self, place: tuple[int, int]) -> tuple[int, int]:
        while (above := self.first.get(place, place)) != place:
            self.first[place] = self.first.get(above, above)
            place = above
        return place

    def write(self, folder: Path) -> Repeated:
        """Their places in a file."""
        places = np.array(sorted(self.first), dtype=PLACE) if self.first else np.zeros(0, PLACE)
        folder.mkdir(parents=True, exist_ok=True)
        repeated = Repeated([folder])
        np.save(repeated.files[0], places)
        return repeated
