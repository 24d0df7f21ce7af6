"""The terminal, and whatever else stands behind the standard streams: one writer, one reader.

A stream may not hold every character (a console on Windows, a log under ``LANG=C``), its reader may leave (``| head``), its disk may be full, and
there may be none at all. A command whose work is what it prints ends then, in one line; a training goes on. What is typed comes as bytes,
which need be no UTF-8: Python hands these on as lone surrogates, which open a file of that name but are no text.
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from typing import TextIO

from components.core.errors import UserError

LONE = re.compile("[\ud800-\udfff]")
LOST: list[bool] = []  # once something that was told could not be written


def prepare() -> None:
    """For a process of ours: input of any bytes is read, and what others print into our streams ends nothing either."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=errors)


def show(text: object = "", *, end: str = "\n", flush: bool = False) -> None:
    """Print what a command was asked for; characters that the stream cannot hold become ``?``.

    Raises:
        UserError: the output cannot be written, on a full disk for example.
        BrokenPipeError: nobody reads it any more.
    """
    _write(sys.stdout, f"{text}{end}", flush=flush)


def tell(text: object, stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Print beside the work: never an error, whatever has become of ``stream`` (standard output unless another is given)."""
    with suppress(UserError, OSError, ValueError):  # ValueError: somebody has closed it
        _write(stream or sys.stdout, f"{text}{end}", flush=True)
        return
    LOST.append(True)


def complain(text: object) -> None:
    """``tell`` on standard error."""
    if sys.stderr is not None:
        tell(text, sys.stderr)


def finish(code: int) -> int:
    """Write out what is held back, at the end of a command that comes to ``code``; the code then: 2 if what was asked for is not all written.

    What was only told beside the work is no reason to fail.
    """
    try:
        _write(sys.stdout, "", flush=True)
        return code
    except UserError as e:
        if code == 0:  # else what is wrong has been said
            complain(f"{'note' if LOST else 'error'}: {e}")
            code = 0 if LOST else 2
    except (BrokenPipeError, ValueError):  # the reader has seen enough, or it is closed
        pass
    with suppress(OSError, ValueError, AttributeError):  # or the interpreter would try once more, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def is_live(stream: TextIO | None) -> bool:
    """Whether a person looks at it: a terminal."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # somebody's own stream, or a closed one
        return False


def require_text(where: str, *given: object) -> None:
    """Strings, and lists of strings or of messages, hold text alone.

    Raises:
        UserError: bytes that are no UTF-8, or half a surrogate pair: no tokenizer reads them.
    """
    for value in given:
        if isinstance(value, str):
            if said := fault_of(value):
                raise UserError(where, said, "give it in UTF-8")
        elif isinstance(value, (list, tuple)):
            require_text(where, *value)
        elif isinstance(value, dict):
            require_text(where, *value.values())


def readable(text: str, lost: str = "?") -> str:
    """``text`` for libraries that take nothing else: ``lost`` for every byte of it that is no UTF-8."""
    return LONE.sub(lost, text)


def fault_of(text: str) -> str | None:
    """Which byte of ``text`` is no UTF-8 and where, or None."""
    bad = None if text.isascii() else LONE.search(text)
    if bad is None:
        return None
    code = ord(bad[0])
    what = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"lone surrogate U+{code:04X}"
    return f"is no UTF-8: {what} at character {bad.start() + 1}"


def held(text: str, stream: TextIO) -> str:
    """``text`` as ``stream`` can hold it: ``?`` for every other character, unless the stream has a way of its own."""
    if text.isascii() or (getattr(stream, "errors", None) or "strict") != "strict":
        return text
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return text.encode(encoding, errors="replace").decode(encoding)
    except LookupError:  # an encoding that Python does not know
        return text.encode("ascii", errors="replace").decode("ascii")


def _write(stream: TextIO | None, text: str, *, flush: bool) -> None:
    if stream is None:  # a process that was started without one
        return
    try:
        stream.write(held(text, stream))
        if flush:
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as e:
        raise UserError("output", f"cannot be written ({e.strerror or e})", "make room, or send it elsewhere") from None
