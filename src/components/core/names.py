"""Names of weights: patterns over them, and many of them said in few words. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from components.core.errors import UserError, nearest


def above(name: str) -> list[str]:
    """The paths of all modules that hold a weight: ``a.b.weight`` -> ``a``, ``a.b``."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def short(path: str) -> str:
    """A pattern for a path and its like in other layers: its last two words."""
    words = path.split(".")
    return path if len(words) < 3 else "*." + ".".join(words[-2:])


def matching(pattern: str, names: Iterable[str], where: str) -> list[str]:
    """Names that the pattern matches, or of which it matches a module that holds them: ``stack.layers.0``, ``*.attention.*``, ``head``.

    Raises:
        UserError: there are none, with what there is.
    """
    names = list(names)
    found = [n for n in names if any(fnmatchcase(path, pattern) for path in (n, *above(n)))]
    if not found:
        known = {path if len(path.split(".")) < 4 else short(path) for n in names for path in above(n)}
        raise UserError(where, f"{pattern!r} matches nothing of the model", nearest(pattern, known, called="there are"))
    return found


def in_short(names: Iterable[str], all_names: Iterable[str]) -> list[str]:
    """What names ``names`` and no other of ``all_names``, in their order: whole modules by their path, layers that are alike as one.

    ``stack.layers.0.q.weight`` and its like up to 3, with nothing else in them, become ``stack.layers.0-3``.
    """
    chosen = dict.fromkeys(names)
    others = {path for n in all_names if n not in chosen for path in (n, *above(n))}
    whole = dict.fromkeys(next(path for path in (*above(n), n) if path not in others) for n in chosen)
    runs: list[tuple[str, list[int], str]] = []
    for path in whole:
        found = re.search(r"(?<=\.)\d+(?=\.|$)", path)
        head, number, tail = (path[: found.start()], int(found[0]), path[found.end() :]) if found else (path, -1, "")
        same = next((r for r in runs if found and (r[0], r[2]) == (head, tail) and r[1][-1] + 1 == number), None)
        if same:
            same[1].append(number)
        else:
            runs.append((head, [number], tail))
    spans = ("" if n[0] < 0 else f"{n[0]}" if len(n) == 1 else f"{n[0]}-{n[-1]}" for _, n, _ in runs)
    return [head + span + tail for (head, _, tail), span in zip(runs, spans)]


def few(names: list[str]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


MOST = 6  # names in one line
