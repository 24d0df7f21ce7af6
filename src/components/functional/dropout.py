"""Dropout whose draws belong to the samples: a function of (seed, sample, call, element), however a step is cut into ranks and micro-batches.

Whoever trains says which samples the rows of the batch are (``core/draws.py``). Every call moves each row's key on by one step of a generator (Steele and
Vigna 2021, arXiv:2001.05304), and draws an element by hashing its place in the row with that key: tensor operations alone, the same on every device,
and the same where the row is padded further. Where nobody has said it, it is torch's own dropout.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.core.draws import DRAWS, keys_of, wrapped
from components.functional.precision import widest

MULTIPLIER, STEP = wrapped(0xD1342543DE82EF95), 0x14057B7EF767814F  # of the generator that moves keys on, 64 bits
PLACES = (
    0x9E3779B1,
    0x85EBCA77,
    0xC2B2AE3D,
    0x27D4EB2F,
    0x165667B1,
)  # odd, one for each axis of a row: what a step along it adds
MIX = 0x2C1B3C6D
WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # as long as a floating number of so many bytes
KEPT_UP_TO = 2**20  # places of a row whose numbers are kept from call to call: 4 MB


def dropout_of(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Each element is 0 with probability ``p``, else divided by 1 - p. The rows of the batch are the first axis of ``x``, or several of its rows each."""
    if not training or p == 0.0:
        return x
    keys = DRAWS.keys
    if keys is None or x.dim() == 0 or x.shape[0] % keys.shape[0] or p >= 1.0:
        return F.dropout(x, p)
    rows = x if x.shape[0] == keys.shape[0] else x.unflatten(0, (keys.shape[0], -1))
    drawn, grown = numbers(rows.shape, moved_on(keys)), 1.0 / (1.0 - p)
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        factor = (drawn >= least(p)).to(x.dtype).mul_(grown)
    else:  # as whole numbers and bits: a CPU turns bools into numbers element by element
        bits = WHOLE[x.dtype.itemsize]
        factor = drawn.ge_(least(p)).to(bits).mul_(x.new_full((), grown).view(bits)).view(x.dtype)
    return (rows * factor).view(x.shape)


def kept_rows(x: Tensor, p: float) -> Tensor:
    """(B, 1, ...) in the type of x: 0 for a row that is dropped whole, with probability ``p``, else 1."""
    shape = (x.shape[0], *[1] * (x.dim() - 1))
    keys = DRAWS.keys
    if keys is None or x.shape[0] != keys.shape[0]:
        return x.new_empty(shape).bernoulli_(1.0 - p)
    return kept(torch.Size(shape), p, moved_on(keys)).to(x.dtype)


def moved_on(keys: Tensor) -> Tensor:
    DRAWS.keys = keys = keys * MULTIPLIER + STEP
    return keys


def kept(shape: torch.Size, p: float, keys: Tensor) -> Tensor:
    """(B, ...) bool: False with probability ``p``. An element's draw depends on its row's key and on its place in the row alone."""
    return numbers(shape, keys) >= least(p)


def least(p: float) -> int:
    """The smallest of ``numbers`` that is kept."""
    return int(p * 2**32) - 2**31


def uniform(ids: Tensor, training: bool) -> Tensor:
    """(B, T) numbers in [0, 1), one for each id: of the rows' samples where it is known which they are, else of torch's generator; outside of training of
    the ids of each row alone, so that each evaluation draws the same."""
    keys = DRAWS.keys
    if training and (keys is None or keys.shape[0] != ids.shape[0]):
        return torch.rand(ids.shape, device=ids.device)
    if not training or keys is None:
        places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        drawn = numbers(ids.shape, keys_of(0, ((ids + 1) * keys_of(1, places)).sum(1)))
    else:
        drawn = numbers(ids.shape, moved_on(keys))
    return (drawn.to(widest(ids.device)) + 2.0**31) / 2.0**32


def numbers(shape: torch.Size, keys: Tensor) -> Tensor:
    """(B, ...) int32, all of them equally likely."""
    return numbers_at(places(shape[1:], keys), keys)


def numbers_at(there: Tensor, keys: Tensor) -> Tensor:
    """(B, ...) int32 for the keys (B,) at some ``places`` (1, ...)."""
    return numbers_from(there, *halves(keys, there.dim()))


def halves(keys: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """(B, 1, ...) int32, odd and any: by what a place is multiplied, and what is added."""
    shape = (-1, *[1] * (dims - 1))
    return ((keys >> 17).to(torch.int32) | 1).view(shape), (keys >> 32).to(torch.int32).view(shape)


def numbers_from(there: Tensor, times: Tensor, add: Tensor) -> Tensor:
    drawn = there * times
    drawn += add
    drawn ^= drawn >> 15
    drawn *= MIX
    return drawn


def places(shape: torch.Size, keys: Tensor) -> Tensor:
    """(1, *shape) int32, where ``keys`` are: a number for each place in a row, which does not depend on how long its axes are."""
    if torch.compiler.is_compiling() or shape.numel() > KEPT_UP_TO or isinstance(keys, FakeTensor):
        return hashed_places(shape, keys.device)
    return kept_places(shape, keys.device)


def hashed_places(shape: torch.Size, device: torch.device, firsts: tuple[int, ...] | None = None) -> Tensor:
    """As ``places``; of the part of a row that begins at ``firsts``."""
    total = torch.zeros(1, *[1] * len(shape), dtype=torch.int32, device=device)
    for axis, length in enumerate(shape):
        factor = wrapped(PLACES[axis % len(PLACES)] + 2 * (axis // len(PLACES)), 32)
        first = 0 if firsts is None else firsts[axis]
        along = torch.arange(first, first + length, dtype=torch.int32, device=device) * factor
        total = total + along.view(1, *[1] * axis, length, *[1] * (len(shape) - axis - 1))
    total ^= total >> 16
    total *= wrapped(0x7FEB352D, 32)
    total ^= total >> 15
    return total


kept_places = lru_cache(maxsize=8)(hashed_places)
