"""What a user can get wrong, said in one line: where, what, what instead. The command line prints it and exits with 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the reader of the message can mend: ``where: what; what instead``."""

    exit_code = 2  # of the command

    def __init__(self, where: str, what: str, instead: str = "") -> None:
        self.where, self.what, self.instead = where, what, instead
        super().__init__(": ".join(filter(None, (where, what))) + (f"; {instead}" if instead else ""))


def nearest(name: str, names: Iterable[str], *, called: str) -> str:
    """``did you mean 'rms'? norms: layer, none, rms``: the nearest of ``names``, and all of them."""
    names = sorted(map(str, names))
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}{called}: {', '.join(names) if names else 'none'}"
