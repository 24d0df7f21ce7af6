"""Folders that are whole or not there: what a killed process leaves is never used, two processes may build the same at once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from components.errors import UserError

META = "meta.json"
STALE = 24 * 3600  # seconds after which a half-written folder belongs to nobody


def key_of(*values: Any) -> str:
    """A name for a set of values: equal values, equal name."""
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def stamp_of(files: Iterable[str | Path]) -> str:
    """Changes when a file comes, goes, or is written: names, sizes and times, not contents."""
    h = hashlib.blake2b(digest_size=16)
    for file in files:
        held = os.stat(file)
        h.update(f"{file}\0{held.st_size}\0{held.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return h.hexdigest()


def read_whole(folder: Path) -> dict[str, Any] | None:
    """What ``build`` stored about ``folder``, or None if it is not there or a file of it is not as it was written."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf8"))
        sizes = meta["sizes"]
        return meta if all((folder / name).stat().st_size == size for name, size in sizes.items()) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(folder: Path, fill: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """``folder`` as ``fill(temporary folder)`` makes it, once; ``fill`` returns what to remember about it.

    The folder is filled under another name and renamed when it is complete. Who comes second takes what the first one made.
    """
    meta = read_whole(folder)
    if meta is not None:
        return meta
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    except OSError as e:
        raise UserError(
            str(folder.parent), f"the cache cannot be written: {e.strerror}", "choose another folder, or set COMPONENTS_CACHE"
        ) from None
    try:
        meta = fill(temporary)
        meta["sizes"] = {f.name: f.stat().st_size for f in sorted(temporary.iterdir())}
        (temporary / META).write_text(json.dumps(meta), encoding="utf8")
        _take_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # renamed away if all went well
    found = read_whole(folder)
    if found is None:
        raise UserError(str(folder), "was changed while it was being written", "start again")
    return found


def _take_place(temporary: Path, folder: Path) -> None:
    """Rename into place; a damaged folder there is moved away first, a whole one (another process was faster) stays."""
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
    """Remove what killed processes left long ago."""
    for left in parent.glob("*.tmp-*"):
        try:
            if time.time() - max(f.stat().st_mtime for f in (left, *left.iterdir())) > STALE:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue  # another process was faster
