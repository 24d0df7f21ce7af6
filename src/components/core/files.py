"""Files: what others wrote is read without trust, what we write is there whole or not at all, and nothing is written through a link.

Reading follows links, since Hugging Face's cache is made of them, but only to a regular file: a pipe would wait for ever, a device never
end. Writing never does: a run folder that somebody sent may hold a link to a file of yours.
"""

from __future__ import annotations

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
STALE = 3600  # seconds after which a part that nobody has finished belongs to nobody
PART = ".part"


def regular(file: str | Path) -> Path:
    """``file``, which is there and is a regular file, or a link to one.

    Raises:
        UserError: it is not there, or is a folder, a pipe, a socket or a device.
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
        UserError: it cannot be read, or is larger.
    """
    path, held = regular(file), bytearray()
    try:
        with path.open("rb") as f:
            # piece by piece, for read(n) takes the memory of n bytes at once
            while len(held) <= most and (piece := f.read(PIECE)):
                held += piece
    except OSError as e:
        raise UserError(str(path), f"cannot be read ({reason(e)})", "give a file that can be read") from None
    if len(held) > most:
        raise UserError(str(path), f"is larger than {most:,} bytes", "no such file is that large; give another")
    return bytes(held)


def read_text(file: str | Path, *, most: int = MOST, errors: str = "strict") -> str:
    """The same, decoded as UTF-8; a byte order mark is left out. ``errors``: as ``bytes.decode`` takes them."""
    held = read_bytes(file, most=most)
    try:
        return held.decode("utf-8-sig", errors=errors)
    except UnicodeDecodeError as e:
        raise UserError(str(file), f"is no UTF-8 (byte {e.start})", "save it as UTF-8") from None


def read_json(file: str | Path, *, most: int = MOST) -> Any:
    """What a JSON file holds: still anybody's content, to be checked before it is used."""
    return parse_json(read_text(file, most=most), str(file))


def parse_json(text: str | bytes, where: str) -> Any:
    """UserError that begins with ``where`` if the text is no JSON, or is nested deeper than Python can follow."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError) as e:
        what = "nested too deeply" if isinstance(e, RecursionError) else str(e) or "too large"
        raise UserError(where, f"is no JSON that can be read ({what})", "mend it, or give another file") from None


@contextmanager
def whole(file: str | Path) -> Iterator[BinaryIO]:
    """A binary stream whose content becomes ``file`` at the end of the block; on any error what was there before stays as it was.

    A link of that name is replaced, what it points to is not touched.

    Raises:
        UserError: it cannot be written: a folder that is not there or read-only, a full disk.
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
            if stream.fault is not None:  # torch and others have their own words for it
                raise stream.fault from None
            raise
    except OSError as e:
        raise unwritable(path, e) from None


def write_bytes(file: str | Path, content: bytes) -> None:
    """``whole``, of content that is at hand."""
    with whole(file) as stream:
        stream.write(content)


def write_text(file: str | Path, text: str) -> None:
    """``write_bytes`` in UTF-8; a lone surrogate, which UTF-8 has not, becomes ``?``."""
    write_bytes(file, text.encode("utf8", errors="replace"))


def write_json(file: str | Path, content: object, *, indent: int | None = 1) -> None:
    """``write_text`` of JSON; what JSON has not, a path for example, as text."""
    write_text(file, json.dumps(content, indent=indent, default=str, ensure_ascii=False))


def open_append(file: str | Path) -> BinaryIO:
    """A regular file of this very folder to add to, made if it is not there.

    Raises:
        UserError: a link, a pipe or a folder has that name, or it cannot be written.
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
    """An empty folder that becomes ``folder`` at the end of the block, with all that was put into it; on any error there is nothing.

    Raises:
        UserError: ``folder`` is there and not empty, or cannot be written.
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
    """``folder`` and those above it, made where they are not there. UserError where that cannot be."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise unwritable(path, e) from None
    return path


def unwritable(path: str | Path, error: OSError) -> UserError:
    """What to tell a user whose disk, folder or rights do not allow it."""
    return UserError(str(path), f"cannot be written ({reason(error)})", "make room or allow it, or name another place")


def reason(error: BaseException) -> str:
    """The operating system's own words, without its number and path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Stream(io.BufferedWriter):
    """Remembers what the operating system said: a library that writes here may say no more than that it failed."""

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
    """Remove parts of this file that a killed process left; a living one touches its own again and again."""
    for left in path.parent.glob(f"{_literal(path.name)}.????????{PART}"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > STALE:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
