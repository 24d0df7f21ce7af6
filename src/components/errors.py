"""What a user can get wrong, said in one line: where, what, what instead. The command line prints it and exits with 2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

MOST = 300  # characters of a line that is shown
CUT = " [...] "


class UserError(ValueError):
    """A mistake that the reader of the message can mend: ``where: what; what instead``."""

    def __init__(self, where: str, what: str, instead: str = "") -> None:
        self.where, self.what, self.instead = where, what, instead
        super().__init__(": ".join(filter(None, (where, what))) + (f"; {instead}" if instead else ""))

    def line(self, most: int = MOST) -> str:
        """The message as a terminal gets it: one line of printable text, of at most ``most`` characters.

        What is wrong is shortened first, then what to do instead, which people copy, then where; each keeps its beginning and its end.
        """
        where, what, instead = map(printable, (self.where, self.what, self.instead))
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


def printable(text: str) -> str:
    """``text`` in one line; what a terminal would obey instead of showing it (escapes, overwriting, changes of direction) as its code."""
    line = " ".join(str(text).split())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def cut(text: str, most: int) -> str:
    """``text`` in at most ``most`` characters, its middle left out."""
    if len(text) <= most:
        return text
    if most <= len(CUT) + 2:
        return text[: max(0, most)]
    head = (most - len(CUT)) // 2
    return text[:head] + CUT + text[len(text) - (most - len(CUT) - head) :]


@contextmanager
def found_in(file: object) -> Iterator[None]:
    """What is wrong within the block is wrong with what ``file`` says: the message begins with it, if it does not name it already."""
    try:
        yield
    except UserError as e:
        raise in_file(e, file) from e.__cause__


def in_file(error: UserError, file: object) -> UserError:
    """The error with the file in front, unless it says which."""
    if not str(file) or str(file) in str(error):
        return error
    return UserError(": ".join(filter(None, (str(file), error.where))), error.what, error.instead)


def nearest(name: str, names: Iterable[str], *, called: str) -> str:
    """``did you mean 'rms'? norms: layer, none, rms``: the nearest of ``names``, and all of them."""
    names = sorted(map(str, names))
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}{called}: {', '.join(names) if names else 'none'}"
