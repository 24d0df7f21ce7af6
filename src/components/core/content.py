"""Checks on the content of files from others, before anything is built from it: plain data, of bounded depth and size.

JSON and YAML may nest to any depth. YAML's aliases and a checkpoint's pickled lists may share values, so a few lines can stand
for more values than a machine has bytes. Our own files are never deeper than ``DEPTH`` and never hold more than ``VALUES``
values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from components.core.errors import UserError
from components.core.files import read_json

DEPTH = 64
VALUES = 500_000
BITS = 1000  # of a whole number: still within a float's range; transformers writes 10^30 for an unbounded length
MOST = 16 * 2**20  # bytes of a file that holds settings
SCALARS = (str, bool, int, float, type(None))


def plain(value: Any, where: str, *, names: bool = False) -> Any:
    """``value``, if it consists of mappings, lists, texts, numbers, true, false and null, and is neither too deep nor too long.

    ``names``: a text may be a file name that is not UTF-8, with its bytes kept by ``surrogateescape``.

    Raises:
        UserError: it does not; the message begins with ``where``.
    """
    left = VALUES

    def look(held: object, depth: int, path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            _refuse(where, f"stands for more than {VALUES:,} values when it is written out")
        if isinstance(held, (dict, list, tuple)):
            if depth == DEPTH:
                _refuse(where, f"is nested deeper than {DEPTH} levels, or holds itself")
            mapping = isinstance(held, dict)
            for key, inner in held.items() if mapping else enumerate(held):
                if mapping:
                    scalar(key, path)
                look(inner, depth + 1, f"{path}.{key}" if mapping and len(path) < 80 else path)
        else:
            scalar(held, path)

    def scalar(held: object, path: str) -> None:
        place = f"{where}: {path.lstrip('.')}" if path else where
        if not isinstance(held, SCALARS):
            _refuse(place, f"holds a {type(held).__name__}, which no config has")
        if isinstance(held, int) and held.bit_length() > BITS:
            _refuse(place, f"holds a whole number of {held.bit_length()} bits")
        if isinstance(held, str) and not held.isascii():
            try:
                held.encode("utf8", errors="surrogateescape" if names else "strict")
            except UnicodeEncodeError:
                _refuse(place, "holds half of a surrogate pair, which is no text")

    look(value, 0, "")
    return value


def mapping(value: object, where: str) -> dict[str, Any]:
    """``value``, if it is ``plain`` and a mapping whose keys are texts."""
    if not isinstance(value, dict):
        _refuse(where, f"is no JSON object: it holds a {type(value).__name__}, not a mapping")
    if odd := [k for k in value if not isinstance(k, str)]:
        _refuse(where, f"has a key that is no text ({odd[0]!r})")
    return plain(value, where)


def read_mapping(file: str | Path) -> dict[str, Any]:
    """The mapping in a JSON file, checked by ``plain``.

    Raises:
        UserError: the file cannot be read, or holds anything else.
    """
    return mapping(read_json(file, most=MOST), str(file))


def _refuse(where: str, what: str) -> NoReturn:
    raise UserError(where, what, "mend it, or give another file")
