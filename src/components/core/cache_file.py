"""Small files in the user's cache that only save time. Each carries a stamp of everything it was made from.

The stamp is the state of files: size, inode, mtime and ctime. It cannot be stale: archives set the mtime as they like, but no
program can set the ctime.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.files import make_folder, write_json


def cache_folder() -> Path:
    """The user's cache of this package: ``$COMPONENTS_CACHE``, else ``$XDG_CACHE_HOME/components``, else ``~/.cache/components``."""
    own = os.environ.get("COMPONENTS_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "components"


def state_of(file: str | Path) -> list[int]:
    """[size, mtime, inode, ctime]: equal as long as nobody has written to the file. OSError if the file does not exist."""
    held = os.stat(file)
    return [held.st_size, held.st_mtime_ns, held.st_ino, held.st_ctime_ns]


def read_cache(store: Path, stamp: object) -> Any:
    """The rows that were stored under exactly this stamp, or None."""
    try:
        held = json.loads(store.read_text(encoding="utf8"))
        return held["rows"] if held["stamp"] == json.loads(json.dumps(stamp)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_cache(store: Path, stamp: object, rows: object) -> None:
    """Store the rows, whole or not at all. If the folder cannot be written, nothing is stored and no error is raised."""
    with suppress(UserError):
        make_folder(store.parent)
        write_json(store, {"stamp": stamp, "rows": rows}, indent=None)
