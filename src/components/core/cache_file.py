"""Small files that only save time: kept in the user's cache under a stamp of all that they were made from.

The stamp is the state of files (size, inode, times of writing and of change), so it is never stale: archives set the time of writing as they
like, the time of change no program can.
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
    """[size, time of writing, inode, time of change]: equal as long as nobody has written to the file. OSError where there is none."""
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
    """Whole or not at all; a folder that cannot be written only costs the time."""
    with suppress(UserError):
        make_folder(store.parent)
        write_json(store, {"stamp": stamp, "rows": rows}, indent=None)
