"""Errors of the user, in one line: where, what, what instead. The command line prints them and exits with 2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from components.core.docstrings import unmarked

MOST = 300  # characters of a printed line, at most
CUT = " [...] "
WORD = 30  # characters of a word, at most, that is left out whole where a line is cut in it
LISTED = 40  # names listed in one line, at most; of more only the nearest
NEAR = 6


class UserError(ValueError):
    """A mistake that the reader of the message can correct: ``where: what; what instead``."""

    exit_code = 2  # of the command

    def __init__(self, where: str, what: str, instead: str = "") -> None:
        self.where, self.what, self.instead = where, what, instead
        super().__init__(": ".join(filter(None, (where, what))) + (f"; {instead}" if instead else ""))

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """Ranks send one another what went wrong."""
        return type(self), (self.where, self.what, self.instead)

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback: the mistake is the reader's, and the line says all of it."""
        return [f"{type(self).__name__}: {self.line()}"]

    def line(self, most: int = MOST) -> str:
        """The message for a terminal: one line of printable text, at most ``most`` characters.

        ``what`` is shortened first, then ``instead``, which people copy, then ``where``. Each keeps its beginning and its end.
        """
        where, what, instead = printable(self.where), *map(unmarked, map(printable, (self.what, self.instead)))
        for least, part in ((100, "what"), (60, "instead"), (80, "where"), (0, "what")):
            over = len(UserError(where, what, instead).args[0]) - most
            if over <= 0:
                break
            if part == "instead":
                instead = cut(instead, max(least, len(instead) - over))
            elif part == "what":
                what = cut(what, max(least, len(what) - over))
            else:
                where = cut(where, max(least, len(where) - over))
        return cut(str(UserError(where, what, instead)), most)


class Mistyped(UserError):
    """What nothing around it can make right: a name that no part has, a value of another type. Two parts that only do not fit one another are none."""


def printable(text: str) -> str:
    """``text`` in one line. Characters that a terminal would obey instead of show (escapes, direction marks) are written as their codes."""
    line = " ".join(str(text).split())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def cut(text: str, most: int) -> str:
    """``text`` in at most ``most`` characters, with its middle left out if needed."""
    if len(text) <= most:
        return text
    if most <= len(CUT) + 2:
        return text[: max(0, most)]
    head = (most - len(CUT)) // 2
    begin, end = text[:head], text[len(text) - (most - len(CUT) - head) :]
    # between words, where one ends or begins near by: half a name cannot be copied
    if text[head] != " " and len(begin) - (at := begin.rfind(" ")) <= WORD and at > 0:
        begin = begin[:at]
    if text[-len(end) - 1] != " " and 0 <= (at := end.find(" ")) <= WORD:
        end = end[at + 1 :]
    return begin.rstrip() + CUT + end.lstrip()


@contextmanager
def found_in(file: object) -> Iterator[None]:
    """Errors raised in the block concern ``file``: their messages begin with it, unless they name it already."""
    try:
        yield
    except UserError as e:
        raise in_file(e, file) from e.__cause__


def in_file(error: UserError, file: object) -> UserError:
    """The error with the file in front, unless the message names it."""
    if not str(file) or str(file) in str(error):
        return error
    return UserError(": ".join(filter(None, (str(file), error.where))), error.what, error.instead)


def nearest(name: str, names: Iterable[str], *, called: str) -> str:
    """``did you mean 'rms'? norms: layer, none, rms``: the nearest of ``names``, then all of them."""
    names = sorted(map(str, names))
    close = closest(str(name), names)
    meant = f"did you mean {close!r}? " if close else ""
    if len(names) > LISTED:
        near = get_close_matches(str(name), names, n=NEAR, cutoff=0.0)
        return f"{meant}{called}: {', '.join(near)} and {len(names) - len(near)} more"
    return f"{meant}{called}: {', '.join(names) if names else 'none'}"


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name that a mistyped or shortened one means: ``learning_rate`` is lr, ``r`` is rank, ``ladder/4`` is ladder/04_table."""
    names = list(names)
    words = re.split(r"[_-]", name)
    for fits in (
        lambda n: len(words) > 1 and n == "".join(w[:1] for w in words),
        lambda n: bool(name) and _plain(n).startswith(_plain(name)) and not _plain(n)[len(_plain(name)) :][:1].isdigit(),
    ):
        found = [n for n in names if fits(n)]
        if len(found) == 1:
            return found[0]
    return next(iter(get_close_matches(name, names, n=1, cutoff=0.5)), None)


def _plain(name: str) -> str:
    """``name`` without leading zeros in numbers: ``04_table`` is 4_table."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name)
