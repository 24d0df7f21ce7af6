"""Reading and writing files safely. Files from others are read without trust. Files of ours appear whole or not at all.

Reading follows links, since Hugging Face's cache is made of them, but only to regular files: reading a pipe could wait for ever,
and a device may never end. Writing never follows links: a run folder from somebody else may hold a link to one of your files.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from components.core.errors import UserError

MOST = 256 * 2**20  # bytes of a file that is read as a whole; weights and corpora are mapped or streamed
PIECE = 2**16
STALE = 3600  # seconds after which an unfinished part counts as abandoned
PART = ".part"
ELSEWHERE = "make room or allow it, or name another place"
INSTEAD = {
    errno.ENOENT: "make its folder first, or name another place",
    errno.EISDIR: "name a file in it, or another place",
    errno.EEXIST: "it is a file: name a folder",
    errno.ENOTDIR: "a part of its path is a file: name another place",
    errno.ENAMETOOLONG: "give it a shorter name",
}


def regular(file: str | Path) -> Path:
    """``file`` as a path, once it is known to be a regular file or a link to one.

    Raises:
        UserError: the file does not exist, or is a folder, a pipe, a socket or a device.
    """
    path = Path(file)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as e:
        raise UserError(str(path), f"cannot be read ({reason(e)})", "give a file that is there") from None
    if not stat.S_ISREG(mode):
        raise UserError(str(path), f"is {_sort(mode)}, not a file", "give a file")
    return path


def read_bytes(file: str | Path, *, most: int = MOST) -> bytes:
    """The whole of a regular file of at most ``most`` bytes.

    Raises:
        UserError: the file cannot be read, or is larger than that.
    """
    path, held = regular(file), bytearray()
    try:
        with path.open("rb") as f:
            # piece by piece: read(n) allocates n bytes at once
            while len(held) <= most and (piece := f.read(PIECE)):
                held += piece
    except OSError as e:
        raise UserError(str(path), f"cannot be read ({reason(e)})", "give a file that can be read") from None
    if len(held) > most:
        raise UserError(str(path), f"is larger than {most:,} bytes", "no such file is that large; give another")
    return bytes(held)


def read_text(file: str | Path, *, most: int = MOST, errors: str = "strict") -> str:
    """``read_bytes``, decoded as UTF-8 without a byte order mark. ``errors``: as in ``bytes.decode``."""
    held = read_bytes(file, most=most)
    try:
        return held.decode("utf-8-sig", errors=errors)
    except UnicodeDecodeError as e:
        raise UserError(str(file), f"is no UTF-8 (byte {e.start})", "save it as UTF-8") from None


def read_json(file: str | Path, *, most: int = MOST) -> Any:
    """The content of a JSON file. It is not checked: do that before you use it."""
    return parse_json(read_text(file, most=most), str(file))


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON. Raises a UserError that begins with ``where`` if the text is not JSON, or nested too deeply for Python."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError) as e:
        what = "nested too deeply" if isinstance(e, RecursionError) else str(e) or "too large"
        raise UserError(where, f"is no JSON that can be read ({what})", "mend it, or give another file") from None


@contextmanager
def whole(file: str | Path) -> Iterator[BinaryIO]:
    """A binary stream whose content becomes ``file`` at the end of the block. On any error the old file stays as it was.

    A link of that name is replaced. The file it points to is not touched.

    Raises:
        UserError: the file cannot be written: its folder is missing or read-only, or the disk is full.
    """
    path = Path(file)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        _sweep(path)
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(21, os.strerror(21))
        stream = _Stream(io.FileIO(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb"))
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            if stream.fault is not None:  # torch and others hide the operating system's error behind their own
                raise stream.fault from None
            raise
    except OSError as e:
        raise unwritable(path, e) from None


def write_bytes(file: str | Path, content: bytes) -> None:
    """Write ``content`` with ``whole``."""
    with whole(file) as stream:
        stream.write(content)


def write_text(file: str | Path, text: str) -> None:
    """``write_bytes`` in UTF-8. A lone surrogate, which UTF-8 cannot encode, becomes ``?``."""
    write_bytes(file, text.encode("utf8", errors="replace"))


def write_json(file: str | Path, content: object, *, indent: int | None = 1) -> None:
    """``write_text`` of JSON. Values that JSON lacks, such as paths, are written as text."""
    write_text(file, json.dumps(content, indent=indent, default=str, ensure_ascii=False))


def open_append(file: str | Path) -> BinaryIO:
    """Open a regular file for appending, and create it if it does not exist. Links are not followed.

    Raises:
        UserError: the name belongs to a link, a pipe or a folder, or the file cannot be written.
    """
    path = Path(file)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as e:
        if path.is_symlink():
            raise UserError(str(path), "is a link, and nothing is written through one", "remove the link") from None
        raise unwritable(path, e) from None
    if not stat.S_ISREG(mode := os.fstat(handle).st_mode):
        os.close(handle)
        raise UserError(str(path), f"is {_sort(mode)}, not a file", "remove it")
    return os.fdopen(handle, "ab")


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """An empty folder that becomes ``folder``, with its content, at the end of the block. On any error nothing is left.

    Raises:
        UserError: ``folder`` exists and is not empty, or cannot be written.
    """
    path = Path(folder)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
            raise UserError(str(path), "is there already", "name a new folder")
        _sweep(path)
        part.mkdir(parents=True)
        try:
            yield part
            if path.exists():
                path.rmdir()
            os.replace(part, path)
        finally:
            shutil.rmtree(part, ignore_errors=True)  # renamed away if all went well
    except OSError as e:
        raise unwritable(path, e) from None


def make_folder(folder: str | Path) -> Path:
    """Create ``folder`` and its parents where they are missing. Raises a UserError if that fails."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise unwritable(path, e) from None
    return path


def unwritable(path: str | Path, error: OSError) -> UserError:
    """The error for a path that the disk, the folder or the user's rights do not allow to write."""
    return UserError(str(path), f"cannot be written ({reason(error)})", INSTEAD.get(error.errno or 0, ELSEWHERE))


def reason(error: BaseException) -> str:
    """The operating system's message, without its number and path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


class _Stream(io.BufferedWriter):
    """Remembers the operating system's error: a library that writes here may report only that it failed."""

    fault: OSError | None = None

    def write(self, held: Any) -> int:
        try:
            return super().write(held)
        except OSError as e:
            self.fault = e
            raise


def _sort(mode: int) -> str:
    sorts = (("a folder", stat.S_ISDIR), ("a pipe", stat.S_ISFIFO), ("a socket", stat.S_ISSOCK), ("a device", stat.S_ISCHR))
    return next((name for name, holds in sorts if holds(mode)), "a device")


def _sweep(path: Path) -> None:
    """Remove parts of this file that a killed process left. A living process keeps touching its own."""
    for left in path.parent.glob(f"{_literal(path.name)}.????????{PART}"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > STALE:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
