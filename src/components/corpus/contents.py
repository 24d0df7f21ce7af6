"""A cache key from the content of files. Each file is read once after each change.

The key is by content, because different text may have the same size and mtime: reproducible archives, ``rsync -t``, nix. Reading
costs 1.1 s a GB (blake2b; sha256 takes 0.6 s with hardware support and 2.5 s without), and every start of a training would pay
it. So the hashes of large files are kept, each with its file's state: size, mtime, inode and ctime. The kernel sets the ctime,
and no program can, whatever mtime an archive gives. A file that changed less than two seconds ago might change again with the
same ctime, so its hash is not kept. On Windows, where ``st_ctime`` is the time of creation, no hash is kept.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.core import cache_file, memory
from components.core.cache_file import cache_folder, read_cache, write_cache
from components.core.errors import UserError
from components.core.files import reason

LITTLE = 32 * 2**20  # bytes that are always read: some hundredths of a second
FRESH = 2.0  # seconds within which the clock of a file system may not tell two changes apart
FORMAT = 1


def hash_of(files: Iterable[str | Path], *, kept: Path | None = None) -> str:
    """A hash that changes when a file is added, removed, moved or edited.

    Args:
        files: in their order.
        kept: the folder for the hashes of large files; by default the user's cache.

    Raises:
        UserError: a file cannot be read.
    """
    paths = [os.path.abspath(f) for f in files]
    whole = hashlib.blake2b(digest_size=16)
    states = [state_of(p) for p in paths]
    much = sum(state[0] for state in states) > LITTLE and os.name != "nt"
    store = _store(paths, kept or cache_folder() / "hashes") if much else None
    known: dict[str, Any] = (read_cache(store, FORMAT) or {}) if store else {}
    new = {}
    for path, state in zip(paths, states):
        held = known.get(path)
        digest = held[1] if isinstance(held, list) and held[:1] == [state] else None
        if digest is None:
            need_written(path)
            began, digest = time.time(), _digest(path)
            if began - state[3] / 1e9 > FRESH and state_of(path) == state:
                new[path] = [state, digest]
        whole.update(f"{path}\0{digest}\0".encode(errors="surrogateescape"))
    if store and new:
        write_cache(store, FORMAT, {p: r for p, r in {**known, **new}.items() if os.path.exists(p)})
    return whole.hexdigest()


def state_of(path: str | Path) -> list[int]:
    """``cache_file.state_of``, with a UserError if the file does not exist."""
    try:
        return cache_file.state_of(path)
    except OSError as e:
        raise UserError(str(path), f"cannot be read ({reason(e)})", "give a file that is there") from None


def need_written(path: str) -> None:
    """UserError for a file that is nearly all holes and larger than the memory: before hours are spent on reading zeros."""
    held = os.stat(path)
    written = getattr(held, "st_blocks", held.st_size) * 512  # Windows does not say
    if (
        held.st_size > memory.available() and written < held.st_size / 100
    ):  # a file system that compresses text makes it no hundredth
        raise UserError(
            path, f"is {memory.shown(held.st_size)} long, and nearly nothing of it was written", "give a whole file"
        )


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as e:
        raise UserError(path, f"cannot be read ({reason(e)})", "give a file that can be read") from None


def _store(paths: list[str], folder: Path) -> Path:
    """One cache file for each common folder, so that another file in it costs only its own reading."""
    place = paths[0] if len(paths) == 1 else os.path.commonpath(paths)
    return folder / f"{hashlib.blake2b(os.fsencode(place), digest_size=16).hexdigest()}.json"
