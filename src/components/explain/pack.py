"""Numbers on a page: tensors as base64 in as many bits as the page has room for, everything else rounded to six significant digits."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Any, cast

import torch
from torch import Tensor

BUDGET = 2_300_000  # bytes of all tensors on one page, which is then below 3 MB
DIGITS = 6
BITS = {32: torch.float32, 16: torch.float16}
Json = dict[str, Any]  # an object of the page's JSON


@dataclass
class Array:
    """A tensor in the trace. ``rank``: where a page would be too large, the highest ranks are left out first; rank 0 always stays."""

    tensor: Tensor
    rank: int = 0

    def size(self, bits: int) -> int:
        return -(-self.tensor.numel() * bits // 8 // 3) * 4


def key_of(field: Field[object]) -> str:
    """The key that a field of the trace has in the JSON."""
    return str(field.metadata.get("key", field.name))


def as_data(value: object) -> Any:
    """Records as dicts and tuples as lists, all the way down; an ``Array`` stays one. Fields that say so are left out where they are None."""
    if is_dataclass(value) and not isinstance(value, (Array, type)):
        found = {}
        for f in fields(value):
            own, rule = getattr(value, f.name), f.metadata
            beside = rule.get("left_out_with"), rule.get("left_out_without")
            out = rule.get("left_out", False)
            out = out or (beside[0] is not None and getattr(value, beside[0]) is not None)
            out = out or (beside[1] is not None and getattr(value, beside[1]) is None)
            if own is not None or not out:
                found[key_of(f)] = as_data(own)
        return found
    if isinstance(value, dict):
        return {k: as_data(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_data(v) for v in value]
    return value


def packed(trace: object, budget: int = BUDGET) -> tuple[Json, list[str]]:
    """The JSON of a trace, and notes that say what had to give way.

    All arrays have 32 bits where they fit, else 16. Where they still do not fit, those of the highest rank are left out, the largest first.

    Args:
        trace: a record of the trace, or a dict of such.
        budget: bytes that all arrays may have.

    Returns: (plain data in which an ``Array`` is {shape, bits, data}, or null where it was left out; notes).
    """
    data = as_data(trace)
    arrays = list(_arrays(data))
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
    return cast(Json, _plain(data, bits, gone)), notes


def rounded(value: float) -> float | None:
    """To six significant digits; null for what JSON cannot hold."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _arrays(value: object) -> Iterator[Array]:
    if isinstance(value, Array):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from _arrays(v)
    elif isinstance(value, list):
        for v in value:
            yield from _arrays(v)


def _plain(value: object, bits: int, gone: set[int]) -> object:
    if isinstance(value, Array):
        if id(value) in gone:
            return None
        data = value.tensor.detach().cpu().to(BITS[bits]).contiguous().numpy().tobytes()
        return {"shape": list(value.tensor.shape), "bits": bits, "data": base64.b64encode(data).decode()}
    if isinstance(value, dict):
        return {k: _plain(v, bits, gone) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v, bits, gone) for v in value]
    return rounded(value) if isinstance(value, float) else value
