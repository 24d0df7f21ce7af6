"""Paths as people type them: ``~`` is expanded, and a path that no file system accepts is a one-line error."""

from __future__ import annotations

import errno
from pathlib import Path

from components.core.errors import UserError


def expanded(text: str | Path, where: str, folder: Path | None = None) -> Path:
    """``text`` with ``~`` or ``~name`` expanded, below ``folder`` if it is relative. The path need not exist.

    Raises:
        UserError: the user does not exist, or no file can have this name.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        user = Path(text).parts[0]
        raise UserError(where, f"{str(text)!r}: there is no home folder of {user}", "write the whole path") from None
    path = path if folder is None else folder / path
    try:
        path.stat()
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise UserError(where, f"{str(text)!r} is a link that leads to itself", "give a file's path") from None
        if e.errno == errno.ENAMETOOLONG:
            raise UserError(where, f"'{str(text)[:40]}...' is longer than any file's name", "give a file's path") from None
    except ValueError as e:  # a null byte
        raise UserError(where, f"{str(text)!r} is no path ({e})", "give a file's path") from None
    return path
