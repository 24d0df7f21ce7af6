"""Folders that are complete or absent. The remains of a killed process are never used; two processes may build the same folder at
once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.files import read_json, reason, write_json

META = "meta.json"
Meta = dict[str, Any]  # what is remembered about a folder: plain data
_SEEN: set[tuple[str, int, int, int]] = set()  # files whose sum was right, in this process
STALE = 24 * 3600  # seconds after which a half-written folder belongs to nobody


def key_of(*values: object) -> str:
    """A name for a set of values. Equal values give equal names."""
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def read_whole(folder: Path, *, sums: bool = True) -> Meta | None:
    """What ``build`` stored about ``folder``, or None if the folder is missing or one of its files has changed.

    ``sums``: also check the files' content, once in a process; otherwise only their sizes.
    """
    try:
        meta = _said(folder)
        return meta if all(_sound(folder / name, *held, sums=sums) for name, held in meta["files"].items()) else None
    except (OSError, ValueError, KeyError, TypeError):  # a UserError is a ValueError
        return None


def require_sound(folder: Path, *names: str) -> None:
    """UserError if a file in a folder of ``build`` has changed since it was written."""
    for name in names:
        try:
            sound = _sound(folder / name, *_said(folder)["files"][name])
        except (OSError, ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            what = "is damaged: it is not what was written"
            raise UserError(str(folder / name), what, "remove its folder, and it is made anew")


def _said(folder: Path) -> Meta:
    stored = read_json(folder / META)
    if stored["sum"] != _sum_of(stored["meta"]):
        raise ValueError("is not what was written")
    return stored["meta"]


def _sound(file: Path, size: int, checksum: str, *, sums: bool = True) -> bool:
    held = os.stat(file)
    if held.st_size != size:
        return False
    state = (str(file), held.st_ino, held.st_mtime_ns, held.st_ctime_ns)
    if sums and state not in _SEEN and _checksum(file) == checksum:
        _SEEN.add(state)
    return not sums or state in _SEEN


def _checksum(file: Path) -> str:
    """CRC-32: 3.5 GB a second, about what a disk reads; blake2b would be four times slower. It finds any damage of up to 32 bits in a row
    for certain, and any other but for one in four thousand million."""
    value = 0
    with file.open("rb") as f:
        while block := f.read(2**18):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def _sum_of(meta: Meta) -> str:
    return f"{zlib.crc32(json.dumps(meta, sort_keys=True).encode()):08x}"


def build(folder: Path, fill: Callable[[Path], Meta], *, sums: bool = True) -> Meta:
    """Make ``folder`` once with ``fill(temporary folder)``, which returns what to remember about it.

    The folder is filled under another name and renamed when it is complete. A second process takes what the first one made. A
    damaged folder is made anew. ``sums``: as in ``read_whole``; False suits files that are read only to make something else from
    them.

    Raises:
        UserError: the cache cannot be written, or its disk is full; also whatever ``fill`` raises.
    """
    meta = read_whole(folder, sums=sums)
    if meta is not None:
        return meta
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    except OSError as e:
        raise _unwritable(folder, e) from None
    try:
        # as it will be read: half a character, which a file's name may have, is none of UTF-8
        meta = json.loads(json.dumps(fill(temporary), ensure_ascii=False).encode("utf8", errors="replace"))
        meta["files"] = {f.name: [f.stat().st_size, _checksum(f)] for f in sorted(temporary.iterdir())}
        write_json(temporary / META, {"sum": _sum_of(meta), "meta": meta}, indent=None)
        _take_place(temporary, folder)
    except OSError as e:
        if (meta := read_whole(folder, sums=sums)) is not None:
            return meta  # another process was faster, and has removed what this one read
        if isinstance(e.filename, str) and not e.filename.startswith(str(folder.parent)):
            raise  # of another file, which is none of the cache's
        raise _unwritable(folder, e) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # renamed away if all went well
    found = read_whole(folder, sums=False)
    if found is None:
        raise UserError(str(folder), "was changed while it was being written", "start again")
    return found


def _unwritable(folder: Path, error: OSError) -> UserError:
    what = f"the cache cannot be written ({reason(error)})"
    return UserError(str(folder.parent), what, "make room, choose another folder with paths.cache, or set COMPONENTS_CACHE")


def _take_place(temporary: Path, folder: Path) -> None:
    """Rename into place. A damaged folder there is moved away first. A complete one stays: another process was faster."""
    for _ in range(3):
        try:
            temporary.rename(folder)  # fails on a folder that is not empty
            return
        except OSError:
            if read_whole(folder) is not None:
                return
            aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
            if folder.exists():
                folder.rename(aside / "damaged")
            shutil.rmtree(aside, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove the remains of processes that were killed long ago."""
    for left in parent.glob("*.tmp-*"):
        try:
            if time.time() - max(f.stat().st_mtime for f in (left, *left.iterdir())) > STALE:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue  # another process was faster
