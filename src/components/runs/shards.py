"""A checkpoint as a folder: the tensors of each rank in a file of its own, all else in one small file, and a plan of what lies where.

``plan.json`` names every tensor with its pieces; ``part_00000.safetensors`` and so on hold the pieces; ``rest.ckpt`` is an ordinary checkpoint
without these tensors. Neither of the first two can hold code, and the third is read as plain data. ``training/strategy/_shards.py`` writes them.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from components.core import files
from components.core.errors import UserError
from components.core.number_types import DTYPES, NAMED
from components.runs.archive import DAMAGED
from components.runs.run_folder import PLAN
from components.runs.tensor_file import bytes_of, forget
from components.runs.tensor_places import TREES, Place

REST, SCHEMA = "rest.ckpt", 1
PART = re.compile(r"part_\d{5,9}\.safetensors")
DEPTH = 16  # keys of a tensor's place, and its dimensions
LARGEST = 2**62  # numbers of a tensor
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """A block of a tensor, as it lies in a file.

    Args:
        part: the file.
        name: of the block in it.
        at: where in the tensor it begins, in each dimension.
        shape: of the block.
        crc: checksum of its bytes.
    """

    part: str
    name: str
    at: Shape
    shape: Shape
    crc: int


@dataclass(frozen=True)
class Stored:
    """A tensor of the checkpoint: where it belongs (in several places, if it is tied), and its pieces, which cover it once."""

    places: tuple[Place, ...]
    dtype: torch.dtype
    shape: Shape
    pieces: tuple[Piece, ...]

    @property
    def key(self) -> str:
        return "/".join(map(str, self.places[0]))

    @property
    def in_one_piece(self) -> bool:
        return len(self.pieces) == 1 and self.pieces[0].shape == self.shape


@dataclass
class Plan:
    """What a folder of shards holds, and its open files.

    Args:
        folder: of the shards.
        parts: {file: its bytes}.
        tensors: in the order of the checkpoint.
    """

    folder: Path
    parts: dict[str, int]
    tensors: list[Stored]
    _open: dict[str, Any] = field(default_factory=dict, repr=False)

    def write(self) -> None:
        """Write plan.json, which makes the folder a checkpoint. UserError if it cannot be written."""
        tensors = [
            {
                "places": stored.places,
                "dtype": DTYPES[stored.dtype],
                "shape": stored.shape,
                "pieces": [[p.part, p.name, p.at, p.shape, p.crc] for p in stored.pieces],
            }
            for stored in self.tensors
        ]
        plan = {"schema": SCHEMA, "parts": self.parts, "tensors": tensors}
        files.write_json(self.folder / PLAN, {"plan": plan, "crc": _sum_of(plan)}, indent=None)

    def piece(self, stored: Stored, piece: Piece) -> Tensor:
        """The numbers of a piece, mapped from its file.

        Raises:
            UserError: they are not what the plan says.
        """
        file = self.folder / piece.part
        try:
            if piece.part not in self._open:
                self._open[piece.part] = safe_open(file, framework="pt")
            held = self._open[piece.part].get_tensor(piece.name)
        except (SafetensorError, OSError, MemoryError) as e:
            raise UserError(str(file), f"is damaged ({str(e).splitlines()[0]})", DAMAGED) from None
        if held.dtype != stored.dtype or tuple(held.shape) != piece.shape:
            said = f"{piece.name} is {held.dtype} {tuple(held.shape)}, not {stored.dtype} {piece.shape}"
            raise UserError(str(file), f"is damaged: {said}", DAMAGED)
        if zlib.crc32(bytes_of(held)) != piece.crc:
            raise UserError(str(file), f"is damaged: the checksum of {piece.name} is wrong", DAMAGED)
        return held

    def tensor(self, stored: Stored, room: Path | None = None) -> Tensor:
        """The whole tensor: mapped from its file if it is in one piece, else put together in memory, or in a file of its own in ``room``.

        Raises:
            UserError: a piece is damaged.
        """
        if stored.in_one_piece:
            return self.piece(stored, stored.pieces[0])
        size = math.prod(stored.shape)
        try:
            if room is None or not size:
                whole = torch.empty(stored.shape, dtype=stored.dtype)
            else:
                whole = torch.from_file(str(room), shared=True, size=size, dtype=stored.dtype).view(stored.shape)
        except RuntimeError:
            said = f"{stored.key} has {size * stored.dtype.itemsize:,} bytes, for which there is no room"
            raise UserError(str(self.folder), said, "load it on a larger machine") from None
        for piece in stored.pieces:
            block = whole[tuple(slice(at, at + size) for at, size in zip(piece.at, piece.shape))]
            held = self.piece(stored, piece)
            block.copy_(held)
            forget(held)
        return whole


def read_plan(folder: Path) -> Plan:
    """The plan of a folder of shards, checked: its files are there and of their size, and the pieces of each tensor cover it once.

    Raises:
        UserError: it is damaged, no such folder, or of a newer release.
    """
    file, where = folder / PLAN, str(folder / PLAN)
    for held in (file, folder / REST):
        if held.is_symlink():
            raise UserError(str(held), "is a link, and a folder of shards has none", DAMAGED)
    read = files.read_json(file)
    plan = read.get("plan") if isinstance(read, dict) else None
    if not isinstance(plan, dict):
        raise UserError(where, "is not the plan of a folder of shards", DAMAGED)
    if _whole(plan.get("schema")) and plan["schema"] > SCHEMA:
        raise UserError(where, "was written by a newer release", "upgrade lightning-components")
    if read.get("crc") != _sum_of(plan):
        raise UserError(where, "is damaged: its checksum is wrong", DAMAGED)
    parts, listed = plan.get("parts"), plan.get("tensors")
    if not (isinstance(parts, dict) and isinstance(listed, list) and plan.get("schema") == SCHEMA):
        raise UserError(where, "is damaged: it lacks its parts or its tensors", DAMAGED)
    for name, size in parts.items():
        _check_part(folder, name, size)
    tensors = [_stored(one, parts, where) for one in listed]
    if sum(math.prod(t.shape) * t.dtype.itemsize for t in tensors) > sum(parts.values()):
        raise UserError(where, "is damaged: its tensors are larger than its files", DAMAGED)
    places = [place for stored in tensors for place in stored.places]
    if len(set(places)) != len(places):
        raise UserError(where, "is damaged: two tensors have the same place", DAMAGED)
    return Plan(folder, parts, tensors)


def _check_part(folder: Path, name: str, size: object) -> None:
    if not PART.fullmatch(name):
        raise UserError(str(folder / PLAN), f"names {name!r}, which is no part of a folder of shards", DAMAGED)
    file = folder / name
    if file.is_symlink():
        raise UserError(str(file), "is a link, and a folder of shards has none", DAMAGED)
    if not file.exists():
        raise UserError(str(file), f"is not there, and {PLAN} names it", "copy the whole folder")
    if (there := files.regular(file).stat().st_size) != size:
        raise UserError(str(file), f"is damaged: it has {there:,} bytes, not those that {PLAN} says", DAMAGED)


def _stored(one: object, parts: dict[str, int], where: str) -> Stored:
    """What the plan says of one tensor."""
    said: dict[str, Any] = one if isinstance(one, dict) else {}
    places, dtype, shape, pieces = (said.get(n) for n in ("places", "dtype", "shape", "pieces"))
    if not (isinstance(places, list) and places and all(_is_place(p) for p in places)):
        raise UserError(where, "is damaged: a tensor has no place in a checkpoint", DAMAGED)
    name = "/".join(map(str, places[0]))
    if not isinstance(dtype, str) or dtype not in NAMED or not _is_shape(shape) or not isinstance(pieces, list):
        raise UserError(where, f"is damaged: {name} is no tensor", DAMAGED)
    found = []
    for piece in pieces:
        if not (isinstance(piece, list) and len(piece) == 5):
            raise UserError(where, f"is damaged: a piece of {name} is none", DAMAGED)
        part, inner, at, size, crc = piece
        right = isinstance(part, str) and part in parts and isinstance(inner, str) and _whole(crc)
        if not (right and _is_shape(at) and _is_shape(size) and len(at) == len(size) == len(shape)):
            raise UserError(where, f"is damaged: a piece of {name} is none", DAMAGED)
        found.append(Piece(part, inner, tuple(at), tuple(size), crc))
    stored = Stored(tuple(tuple(p) for p in places), NAMED[dtype], tuple(shape), tuple(found))
    if not covered(stored.shape, [(p.at, p.shape) for p in found]):
        raise UserError(where, f"is damaged: the pieces of {name} do not cover it once", DAMAGED)
    return stored


def covered(shape: Shape, blocks: Sequence[tuple[Shape, Shape]]) -> bool:
    """Whether blocks ``(at, shape)`` are all cells of a grid over a tensor of ``shape``, each once. Shards of a mesh always are."""
    if 0 in shape:
        return not blocks
    cuts = [sorted({at[dim] for at, _ in blocks} | {size}) for dim, size in enumerate(shape)]
    if any(row[0] != 0 or row[-1] != size for row, size in zip(cuts, shape)):
        return False
    ends = [dict(pairwise(row)) for row in cuts]
    whole = all(ends[dim].get(a) == a + n for at, size in blocks for dim, (a, n) in enumerate(zip(at, size)))
    return whole and len({at for at, _ in blocks}) == len(blocks) == math.prod(len(row) - 1 for row in cuts)


def is_shards(path: Path) -> bool:
    """Whether it is a folder of shards."""
    return path.is_dir() and os.path.lexists(path / PLAN)


def _sum_of(plan: dict[str, object]) -> int:
    return zlib.crc32(json.dumps(plan, sort_keys=True, ensure_ascii=False).encode(errors="replace"))


def _is_place(path: object) -> bool:
    keys = cast(list[object], path) if isinstance(path, list) else []
    return 1 < len(keys) <= DEPTH and keys[0] in TREES and all(isinstance(k, str) or _whole(k) for k in keys)


def _is_shape(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) <= DEPTH and all(_whole(n) and 0 <= n < LARGEST for n in value)


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
