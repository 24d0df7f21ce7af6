"""Files of token ids that other programs have made: what their headers say, and where documents begin.

- nanoGPT: ids and nothing else, uint16 (data/openwebtext/prepare.py).
- llm.c: 256 int32 before the ids: 20240520, 1, their number, then uint16; or 20240801, 7, their number, then uint32 (dev/data/data_common.py).
- Megatron-LM: ids in ``x.bin``; ``x.idx`` says their type and where sequences and documents begin (megatron/core/datasets/indexed_dataset.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.core.errors import UserError
from components.core.files import regular

HEADER, LLMC = 1024, {(20240520, 1): "<u2", (20240801, 7): "<u4"}  # bytes, (magic, version): type
MEGATRON, TYPES = b"MMIDIDX\x00\x00", {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
IDX_HEADER = len(MEGATRON) + 8 + 1 + 8 + 8
BLOCK = 2**20  # ids that are looked at in one go


@dataclass(frozen=True)
class TokenFile:
    """A file of ids.

    Args:
        file: where.
        dtype: of an id.
        offset: bytes before the first.
        count: how many there are.
        index: Megatron's ``.idx``; None: an id stands between documents.
        sequences: how many the index has.
        documents: how many it has.
    """

    file: Path
    dtype: str
    offset: int
    count: int
    index: Path | None = None
    sequences: int = 0
    documents: int = 0

    def ids(self) -> np.ndarray:
        """All ids, mapped from disk."""
        if not self.count:
            return np.zeros(0, self.dtype)
        return np.memmap(self.file, self.dtype, "r", self.offset, (self.count,))

    def starts(self, first: int, last: int) -> np.ndarray:
        """Where documents ``first`` to before ``last`` of an index begin, and where the last of them ends."""
        assert self.index is not None
        pointers = np.memmap(self.index, "<i8", "r", IDX_HEADER + 4 * self.sequences, (self.sequences,))
        bounds = np.memmap(self.index, "<i8", "r", IDX_HEADER + 12 * self.sequences, (self.documents + 1,))[first : last + 1]
        if len(bounds) and not (bounds.min() >= 0 and bounds.max() <= self.sequences):
            raise UserError(str(self.index), "has documents of sequences that it does not have", "make it anew")
        inside = np.minimum(bounds, self.sequences - 1)
        return np.where(bounds < self.sequences, pointers[inside] // np.dtype(self.dtype).itemsize, self.count)


def opened(file: Path, dtype: str) -> TokenFile:
    """What a file says of itself. ``dtype``: that of a file without a header, ``auto`` for uint16.

    Raises:
        UserError: it is cut short, or another sort of file.
    """
    index, size = file.with_suffix(".idx"), regular(file).stat().st_size
    if index.is_file():
        return _megatron(file, index, size)
    with file.open("rb") as f:
        head = f.read(HEADER)
    magic = struct.unpack("<3i", head[:12]) if len(head) == HEADER else (0, 0, 0)
    if (known := LLMC.get(magic[:2])) and dtype == "auto":
        if size != HEADER + magic[2] * np.dtype(known).itemsize:
            what = f"says that it holds {magic[2]:,} tokens, and has {size:,} bytes"
            raise UserError(str(file), what, "it was cut short: make or copy it anew")
        return TokenFile(file, known, HEADER, magic[2])
    plain = np.dtype("<u2" if dtype == "auto" else dtype).newbyteorder("<")
    if size % plain.itemsize:
        raise UserError(
            str(file), f"has {size:,} bytes, which are no whole number of {plain.name}", "data.dtype says another type"
        )
    return TokenFile(file, plain.str, 0, size // plain.itemsize)


def _megatron(file: Path, index: Path, size: int) -> TokenFile:
    there = regular(index).stat().st_size
    with index.open("rb") as f:
        head = f.read(IDX_HEADER)
    if len(head) < IDX_HEADER or not head.startswith(MEGATRON):
        raise UserError(str(index), "is no index of Megatron's", f"take it away, and {file.name} is read without one")
    version, kind, sequences, bounds = struct.unpack("<QBQQ", head[len(MEGATRON) :])
    if version != 1 or kind not in TYPES:
        raise UserError(str(index), f"has version {version} and type {kind} of ids", "version 1 of whole numbers is read")
    if there < IDX_HEADER + 12 * sequences + 8 * bounds or size % np.dtype(TYPES[kind]).itemsize or not bounds:
        raise UserError(str(index), "is cut short", "make or copy it anew")
    return TokenFile(file, TYPES[kind], 0, size // np.dtype(TYPES[kind]).itemsize, index, sequences, bounds - 1)


def spans(held: TokenFile, end: int, size: int) -> Iterator[tuple[int, int]]:
    """(first, last) of parts of about ``size`` bytes: documents of an index, else ids, cut after one that ends a document."""
    each = max(1, size // np.dtype(held.dtype).itemsize)
    if held.index is not None:
        each = max(1, held.documents * each // max(1, held.count))
        yield from ((i, min(i + each, held.documents)) for i in range(0, held.documents, each))
        return
    ids, first = held.ids(), 0
    while first < held.count:
        last = _after(ids, end, first + each - 1)
        yield first, last
        first = last


def _after(ids: np.ndarray, end: int, start: int) -> int:
    """The place after the first ``end`` from ``start`` on."""
    for at in range(start, len(ids), BLOCK):
        found = np.flatnonzero(ids[at : at + BLOCK] == end)
        if len(found):
            return at + int(found[0]) + 1
    return len(ids)
