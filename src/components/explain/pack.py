"""Numbers on a page: tensors as base64 in as many bits as the size of the page allows, everything else rounded to six significant digits."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BUDGET = 2_300_000  # bytes of all tensors on one page, which is then below 3 MB
DIGITS = 6
BITS = {32: torch.float32, 16: torch.float16}


@dataclass
class Array:
    """A tensor in the trace. ``rank``: those with higher ranks give way first where a page would be too large; 0 never does."""

    tensor: Tensor
    rank: int = 0

    def size(self, bits: int) -> int:
        return -(-self.tensor.numel() * bits // 8 // 3) * 4


def packed(trace: Any, budget: int = BUDGET) -> tuple[Any, list[str]]:
    """(the trace with every ``Array`` as {shape, bits, data}, or null where it had to go; notes that say what was done).

    All arrays have 32 bits where they fit, else 16; where they still do not, those of the highest rank go, the largest first.
    """
    arrays = list(_arrays(trace))
    bits, notes, gone = 32, [], set[int]()
    if sum(a.size(32) for a in arrays) > budget:
        bits = 16
        notes.append("Attention, queries, keys and values are kept with 11 bits (three digits), so that the page stays small.")
    for array in sorted(arrays, key=lambda a: (-a.rank, -a.size(bits))):
        if sum(a.size(bits) for a in arrays if id(a) not in gone) <= budget or not array.rank:
            break
        gone.add(id(array))
    if gone:
        notes.append(
            f"{len(gone)} of {len(arrays)} arrays (queries, keys, values) are left out: the page would be over 3 MB. Ask about fewer tokens for all."
        )
    return _plain(trace, bits, gone), notes


def rounded(value: float) -> float | None:
    """To six significant digits; null for what JSON cannot hold."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _arrays(value: Any) -> Iterator[Array]:
    if isinstance(value, Array):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from _arrays(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _arrays(v)


def _plain(value: Any, bits: int, gone: set[int]) -> Any:
    if isinstance(value, Array):
        if id(value) in gone:
            return None
        data = value.tensor.detach().cpu().to(BITS[bits]).contiguous().numpy().tobytes()
        return {"shape": list(value.tensor.shape), "bits": bits, "data": base64.b64encode(data).decode()}
    if isinstance(value, dict):
        return {k: _plain(v, bits, gone) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, bits, gone) for v in value]
    return rounded(value) if isinstance(value, float) else value


def unpacked(array: dict[str, Any]) -> Tensor:
    """What ``packed`` made of a tensor."""
    data = bytearray(base64.b64decode(array["data"]))
    return torch.frombuffer(data, dtype=BITS[array["bits"]]).view(array["shape"])
