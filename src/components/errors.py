"""What a user can get wrong, said in one line: where, what, what instead. The command line prints it and exits with 2."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

MOST = 40  # names that are listed in one line; of more the nearest
NEAR = 6


class UserError(ValueError):
    """A mistake that the reader of the message can mend: ``where: what; what instead``."""

    def __init__(self, where: str, what: str, instead: str = "") -> None:
        self.where, self.what, self.instead = where, what, instead
        super().__init__(": ".join(filter(None, (where, what))) + (f"; {instead}" if instead else ""))


def nearest(name: str, names: Iterable[str], *, called: str) -> str:
    """``did you mean 'rms'? norms: layer, none, rms``: the nearest of ``names``, and all of them."""
    names = sorted(map(str, names))
    close = closest(str(name), names)
    meant = f"did you mean {close!r}? " if close else ""
    if len(names) > MOST:
        near = get_close_matches(str(name), names, n=NEAR, cutoff=0.0)
        return f"{meant}{called}: {', '.join(near)} and {len(names) - len(near)} more"
    return f"{meant}{called}: {', '.join(names) if names else 'none'}"


def closest(name: str, names: Iterable[str]) -> str | None:
    """What a mistyped or shortened name means: ``learning_rate`` is lr, ``r`` is rank, ``ladder/4`` is ladder/04_table."""
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
    """Numbers as one writes them: ``04_table`` is 4_table."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name)
