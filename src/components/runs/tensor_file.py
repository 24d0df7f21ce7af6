"""A safetensors file, written tensor by tensor: no more than one of them is in memory twice."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from components.core import files, memory
from components.core.number_types import DTYPES


@dataclass(frozen=True)
class Entry:
    """What the head of a file says of one tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write(file: Path, entries: Sequence[Entry], tensors: Iterable[Tensor]) -> list[int]:
    """Write ``file``, whole or not at all; the checksum (CRC-32) of each tensor's bytes.

    Args:
        file: to write.
        entries: all of the tensors, in their order.
        tensors: their values, on any device; each is asked for when it is written.

    Raises:
        UserError: the file cannot be written.
    """
    head: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for entry in entries:
        head[entry.name] = {"dtype": DTYPES[entry.dtype], "shape": entry.shape, "data_offsets": [at, at + entry.bytes]}
        at += entry.bytes
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    sums = []
    with files.whole(file) as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for entry, tensor in zip(entries, tensors, strict=True):
            assert tensor.dtype == entry.dtype, f"{entry.name} is {tensor.dtype}"
            assert tuple(tensor.shape) == entry.shape, f"{entry.name} is {tuple(tensor.shape)}"
            held = bytes_of(tensor.detach().cpu())
            stream.write(held)
            sums.append(zlib.crc32(held))
    return sums


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU; a view, where it lies in one piece."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def forget(mapped: Tensor) -> None:
    """Let go of the pages of a tensor that is mapped from a file; it keeps its values."""
    if mapped.is_contiguous():
        memory.forget(mapped.data_ptr(), mapped.numel() * mapped.element_size())
