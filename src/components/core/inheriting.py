"""What a socket that is set to ``inherit`` takes: the one rule, for the tree of a config, for makers from Python and for completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

INHERIT = "inherit"  # the value of a socket that takes what stands above it
T = TypeVar("T")


def inherited(name: str, kind: str, own: Callable[[str], T | None], above: Callable[[str], T | None]) -> T | None:
    """The first of: the socket ``name`` above, the part's own socket named like the ``kind``, the socket named like the kind above.

    Args:
        name: the socket that inherits.
        kind: what stands in it.
        own: what the part itself has in a socket of that name; None if it has none.
        above: what the nearest part above has in a socket of that name, with what that socket may itself inherit; None if there is none.
    """
    found = above(name)
    if found is None and name != kind:
        found = own(kind)
    return above(kind) if found is None else found
