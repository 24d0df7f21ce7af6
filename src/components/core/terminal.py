"""Writing to and reading from the standard streams.

A stream may not be able to show every character (a console on Windows, a log under ``LANG=C``), its reader may leave (``| head``), its disk may be
full, and it may be missing. A command whose work is its output then ends with a one-line error; training goes on. Typed words are bytes that may
not be UTF-8. Python passes these on as lone surrogates, which can name a file but are not text.
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
LOST: list[bool] = []  # filled when a message of ``tell`` could not be written


def prepare() -> None:
    """Set up the streams of a command: any bytes can be read, and characters that cannot be shown raise no error, whoever prints them."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=errors)


def show(text: object = "", *, end: str = "\n", flush: bool = False) -> None:
    """Print the output of a command. Characters that the stream cannot show become ``?``.

    Raises:
        UserError: the output cannot be written, for example on a full disk.
        BrokenPipeError: nobody reads it any more.
    """
    _write(sys.stdout, f"{text}{end}", flush=flush)


def tell(text: object, stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Print a message that is not the command's output. Never raises, whatever happened to ``stream`` (default: standard output)."""
    with suppress(UserError, OSError, ValueError):  # ValueError: the stream is closed
        _write(stream or sys.stdout, f"{text}{end}", flush=True)
        return
    LOST.append(True)


def complain(text: object, *, end: str = "\n") -> None:
    """``tell`` on standard error."""
    if sys.stderr is not None:
        tell(text, sys.stderr, end=end)


def finish(code: int) -> int:
    """Flush the output at the end of a command with exit code ``code``. Returns that code, or 2 if the output could not be written completely.

    A lost message of ``tell`` is not a reason to fail.
    """
    try:
        _write(sys.stdout, "", flush=True)
        return code
    except UserError as e:
        if code == 0:  # otherwise an error was printed already
            complain(f"{'note' if LOST else 'error'}: {e}")
            code = 0 if LOST else 2
    except (BrokenPipeError, ValueError):  # the reader has left, or the stream is closed
        pass
    with suppress(OSError, ValueError, AttributeError):  # or the interpreter would try again at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def is_live(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # somebody's own stream, or a closed one
        return False


def require_text(where: str, *given: object) -> None:
    """Check that strings, and lists of strings or of messages, are valid text.

    Raises:
        UserError: they hold bytes that are not UTF-8, or half a surrogate pair, which no tokenizer can read.
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
    """``text`` with ``lost`` in place of every byte that is not UTF-8, for libraries that refuse such bytes."""
    return LONE.sub(lost, text)


def fault_of(text: str) -> str | None:
    """The first byte of ``text`` that is not UTF-8, and its place, in words; None if all is well."""
    bad = None if text.isascii() else LONE.search(text)
    if bad is None:
        return None
    code = ord(bad[0])
    what = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"lone surrogate U+{code:04X}"
    return f"is no UTF-8: {what} at character {bad.start() + 1}"


def held(text: str, stream: TextIO) -> str:
    """``text`` with ``?`` for characters that ``stream`` cannot show, unless the stream handles them itself."""
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
