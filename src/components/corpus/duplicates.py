"""Exact duplicates over all shards, with constant memory: digests are divided by their first bits, and each part is sorted for itself.

Each segment's digests are in order and hold none twice, so a part takes one stretch of each, and no text, however often it occurs, makes a part large.
Of equal documents the first in the order of the source stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.corpus.arrays import mapped
from components.corpus.records import DIGEST, Tick
from components.corpus.store import Meta

DIGESTS = 2**21  # of a part, about: some 150 MB while they are sorted
PLACE = np.dtype([("segment", "<u4"), ("index", "<u4")])
FILE = "repeated.npy"


def parts_of(digests: int) -> int:
    """Into how many parts so many digests are divided."""
    return -(-digests // DIGESTS)


def find_repeated(folder: Path, tick: Tick, files: Sequence[Path], part: int, parts: int) -> Meta:
    """Write the places of all documents of one part that an earlier segment has as well. ``files``: the digests of each segment."""
    low, high = (np.uint64(min(k * 2**64 // parts, 2**64 - 1)) for k in (part, part + 1))
    held = []
    for file in files:
        digests = mapped(file)
        first = int(np.searchsorted(digests["high"], low)) if part else 0
        last = int(np.searchsorted(digests["high"], high)) if part + 1 < parts else len(digests)
        held.append(np.array(digests[first:last]))
    found = np.concatenate(held) if held else np.zeros(0, DIGEST)
    segments = np.repeat(np.arange(len(held), dtype=np.uint32), [len(of) for of in held])
    del held
    order = np.lexsort((found["low"], found["high"]))  # stable: the earliest segment first
    same = np.zeros(len(order), bool)
    for field in ("high", "low"):
        ordered = found[field][order]
        equal = ordered[1:] == ordered[:-1]
        same[1:] = equal if field == "high" else same[1:] & equal
    places = np.zeros(int(same.sum()), PLACE)
    places["segment"], places["index"] = segments[order[same]], found["index"][order[same]]
    np.save(folder / FILE, np.sort(places, order=["segment", "index"]))
    tick(1)
    return {}


class Repeated:
    """Which documents of a segment an earlier one has as well.

    Args:
        folders: those of ``find_repeated``.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.files = [folder / FILE for folder in folders]

    def of(self, segment: int) -> np.ndarray:
        """Their numbers in the segment."""
        found = [np.zeros(0, np.uint32)]
        for file in self.files:
            places = mapped(file)
            first, last = np.searchsorted(places["segment"], (segment, segment + 1))
            found.append(np.array(places["index"][first:last]))
        return np.concatenate(found)
