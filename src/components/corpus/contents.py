"""What files hold, as a key of the cache: by their content, read once for each change of a file.

By content and not by size and time of writing, since other text may have both: reproducible archives, ``rsync -t``, nix. Reading costs 1.1 s a GB
(blake2b; sha256 takes 0.6 s with instructions of its own for it and 2.5 s without), which every start of a training would pay. So where there is much
to read the hashes are kept, each with the state of its file: size, time of writing, inode, and time of change (ctime). No program can set the
last one, it is the kernel's own, whatever time of writing an archive gives. Where a file was changed less than two seconds ago a second
change might have the same ctime, so such a hash is not kept. On Windows, whose ``st_ctime`` is the time of creation, none is.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.core import cache_file
from components.core.cache_file import cache_folder, read_cache, write_cache
from components.core.errors import UserError
from components.core.files import reason

LITTLE = 32 * 2**20  # bytes that are always read: some hundredths of a second
FRESH = 2.0  # seconds within which the clock of a file system may not tell two changes apart
FORMAT = 1


def hash_of(files: Iterable[str | Path], *, kept: Path | None = None) -> str:
    """Changes when a file comes, goes, moves, or holds something else.

    Args:
        files: in their order.
        kept: the folder that hashes of large files are kept in; the user's cache unless it is given.

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
            began, digest = time.time(), _digest(path)
            if began - state[3] / 1e9 > FRESH and state_of(path) == state:
                new[path] = [state, digest]
        whole.update(f"{path}\0{digest}\0".encode(errors="surrogateescape"))
    if store and new:
        write_cache(store, FORMAT, {p: r for p, r in {**known, **new}.items() if os.path.exists(p)})
    return whole.hexdigest()


def state_of(path: str | Path) -> list[int]:
    """``cache_file.state_of``. UserError where there is no such file."""
    try:
        return cache_file.state_of(path)
    except OSError as e:
        raise UserError(str(path), f"cannot be read ({reason(e)})", "give a file that is there") from None


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as e:
        raise UserError(path, f"cannot be read ({reason(e)})", "give a file that can be read") from None


def _store(paths: list[str], folder: Path) -> Path:
    """One file for what lies together, so that one more file there costs its own reading alone."""
    place = paths[0] if len(paths) == 1 else os.path.commonpath(paths)
    return folder / f"{hashlib.blake2b(os.fsencode(place), digest_size=16).hexdigest()}.json"
