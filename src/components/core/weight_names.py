"""Names of weights: patterns that match them, and short summaries of many. Imports no torch."""

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
    """A pattern for the same path in all layers: its last two words."""
    words = path.split(".")
    return path if len(words) < 3 else "*." + ".".join(words[-2:])


def matching(pattern: str, names: Iterable[str], where: str) -> list[str]:
    """The names that the pattern matches itself, or whose module it matches: ``stack.layers.0``, ``*.attention.*``, ``head``.

    Raises:
        UserError: it matches nothing; the message suggests a module.
    """
    names = list(names)
    found = [n for n in names if any(fnmatchcase(path, pattern) for path in (n, *above(n)))]
    if not found:
        known = {path if len(path.split(".")) < 4 else short(path) for n in names for path in above(n)}
        raise UserError(where, f"{pattern!r} matches nothing of the model", nearest(pattern, known, called="there are"))
    return found


def summarize_names(names: Iterable[str], all_names: Iterable[str]) -> list[str]:
    """The shortest patterns that match exactly ``names``: whole modules by their path, identical layers as one range.

    ``stack.layers.0.q.weight`` and its like up to 3, with nothing else in these layers, become ``stack.layers.0-3``.
    """
    chosen = dict.fromkeys(names)
    outside = {path for name in all_names if name not in chosen for path in (name, *above(name))}
    paths = dict.fromkeys(_largest_module(name, outside) for name in chosen)
    ranges: list[tuple[str, list[int], str]] = []  # (before the layer, its numbers, after it)
    for path in paths:
        head, number, tail = _around_layer(path)
        follows = (r for r in ranges if number is not None and (r[0], r[2]) == (head, tail) and r[1][-1:] == [number - 1])
        same = next(follows, None)
        if same is None:
            ranges.append((head, [] if number is None else [number], tail))
        elif number is not None:
            same[1].append(number)
    return [head + _span(numbers) + tail for head, numbers, tail in ranges]


def _largest_module(name: str, outside: set[str]) -> str:
    """The highest module above a weight that holds none of the names ``outside``, else the weight itself."""
    return next(path for path in (*above(name), name) if path not in outside)


def _around_layer(path: str) -> tuple[str, int | None, str]:
    """(before, number, after) of the first layer number in a path; None where it has none."""
    found = re.search(r"(?<=\.)\d+(?=\.|$)", path)
    return (path, None, "") if found is None else (path[: found.start()], int(found[0]), path[found.end() :])


def _span(numbers: list[int]) -> str:
    """``2``, ``0-3``, or nothing."""
    return "-".join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1]))) if numbers else ""


def first_few(names: Iterable[str]) -> str:
    """The first names in one line, and how many more there are."""
    names = list(names)
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


MOST = 6  # names in one line
