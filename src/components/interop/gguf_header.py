"""The head of a GGUF file, versions 2 and 3: its key-value pairs and where its tensors lie. Every count is held against the file's size before it is believed.

The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.files import regular

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
DEPTH, MOST_AXES = 2, 4
# number of a value's type: how struct reads it; 8 is text, 9 an array
SCALARS = dict(
    zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), ("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", "<Q", "<q", "<d"), strict=True)
)
TEXT, ARRAY = 8, 9
# number of a tensor's type: its name, the numbers of a block, the block's bytes
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    8: ("Q8_0", 32, 34),
    12: ("Q4_K", 256, 144),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}


@dataclass(frozen=True)
class Entry:
    """A tensor: the name of its type, its shape as PyTorch counts axes, its bytes."""

    type: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class Header:
    values: dict[str, Any]
    tensors: dict[str, Entry]


def read_header(file: Path) -> Header:
    """The head of a file.

    Raises:
        UserError: it is no GGUF file, is damaged or truncated, or has a tensor of a type that is not read.
    """
    size = regular(file).stat().st_size
    try:
        with file.open("rb") as stream:
            start = stream.read(8)
            if start[:4] != MAGIC:
                raise UserError(
                    str(file), "is no GGUF file", "name a .gguf file, or a folder with config.json and *.safetensors"
                )
            version = int.from_bytes(start[4:], "little")  # 0 where the file ends before
            if version not in VERSIONS:
                raise UserError(str(file), f"is of version {version} of GGUF", "versions 2 and 3 are read")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as held:
                return _Reading(held, size).header()
    except (_Damaged, struct.error, UnicodeDecodeError) as e:
        raise UserError(str(file), f"is damaged: {e}", "fetch it again") from None
    except OSError as e:
        raise UserError(str(file), f"cannot be read ({e.strerror})", "give a file that can be read") from None


class _Damaged(Exception):
    pass


class _Reading:
    """Reads from ``at`` on. An array of n values has at least n bytes, so what a file says to have is bounded by what it has."""

    def __init__(self, held: mmap.mmap, size: int) -> None:
        self.held, self.size, self.at = held, size, 8

    def header(self) -> Header:
        tensors, pairs = self.number("<Q"), self.number("<Q")
        self.need(12 * pairs + 24 * tensors, f"{pairs:,} values and {tensors:,} tensors")
        values: dict[str, Any] = {}
        for _ in range(pairs):
            key = self.text()
            values[key] = self.value(self.number("<I"))
        infos = [self.info() for _ in range(tensors)]
        alignment = values.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment < 2**20:
            raise _Damaged(f"general.alignment={alignment!r:.40}")
        data = -(-self.at // alignment) * alignment
        found: dict[str, Entry] = {}
        for name, shape, kind, offset in infos:
            if kind not in TYPES:
                raise UserError(
                    f"GGUF tensor {name!r:.80}",
                    f"is of type {kind}, and there are {', '.join(t for t, _, _ in TYPES.values())}",
                    "take a version of the checkpoint in one of them",
                )
            label, block, width = TYPES[kind]
            if (shape[-1] if shape else 1) % block:
                raise _Damaged(f"{name!r:.80} has rows of {shape[-1]}, and {label} has blocks of {block}")
            entry = Entry(label, shape, data + offset, math.prod(shape) // block * width)
            if entry.start + entry.size > self.size or name in found:
                raise _Damaged(f"{name!r:.80} lies outside of the file, or twice in it")
            found[name] = entry
        return Header(values, found)

    def need(self, count: int, what: str) -> None:
        if count > self.size - self.at:
            raise _Damaged(f"it says to have {what}, and ends before")

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.held, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.number("<Q")
        self.need(length, f"a text of {length:,} bytes")
        self.at += length
        return self.held[self.at - length : self.at].decode("utf8")

    def value(self, kind: int, depth: int = 0) -> object:
        if kind == TEXT:
            return self.text()
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind != ARRAY or depth == DEPTH:
            raise _Damaged(f"a value of type {kind}")
        inner, count = self.number("<I"), self.number("<Q")
        width = struct.calcsize(SCALARS[inner]) if inner in SCALARS else 8
        self.need(count * width, f"an array of {count:,} values")
        if inner in SCALARS:
            made = struct.unpack_from(f"<{count}{SCALARS[inner][1]}", self.held, self.at)
            self.at += count * width
            return list(made)
        return [self.value(inner, depth + 1) for _ in range(count)]

    def info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, axes = self.text(), self.number("<I")
        if axes > MOST_AXES:
            raise _Damaged(f"{name!r:.80} has {axes} axes")
        shape = tuple(self.number("<Q") for _ in range(axes))[::-1]
        return name, shape, self.number("<I"), self.number("<Q")
