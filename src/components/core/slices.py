"""Which layers ``model.layers.<which>`` means, and which maker each layer gets. Models and composing share this one grammar.

``all  first  first2  last  last2  every4  every4at3  from8  to7  8  8_11`` (counted from 0, both ends included), or the name
of an entry in the model's ``pattern``, which repeats over the depth. Hydra can parse each of these words, in sweeps too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from components.core.errors import UserError, nearest

GRAMMAR = "all, first, last, first2, last2, every4, every4at3, from8, to7, 8, 8_11"
_WORD = re.compile(
    r"(?P<all>all)|(?P<first>first)(?P<first_n>\d*)|(?P<last>last)(?P<last_n>\d*)|every(?P<every>\d+)(?:at(?P<at>\d+))?"
    r"|from(?P<from>\d+)|to(?P<to>\d+)|(?P<low>\d+)(?:_(?P<high>\d+))?"
)


def indices(which: str, n_layers: int, pattern: Sequence[str] | None = None) -> list[int]:
    """The layers that ``which`` means, ascending. UserError if no layer matches, or ``which`` is neither a slice nor in
    ``pattern``."""
    which, entries = str(which), list(pattern or ())
    where = f"layers.{which}"
    match = _WORD.fullmatch(which)
    if match and which in entries:
        raise UserError(where, f"the pattern's entry {which!r} is also a slice", f"rename the entry; slices: {GRAMMAR}")
    if match:
        found = [i for i in range(n_layers) if _holds(match, i, n_layers)]
    elif which in entries:
        found = [i for i in range(n_layers) if entries[i % len(entries)] == which]
    else:
        known = nearest(which, set(entries), called="entries of the pattern") if entries else "the model has no pattern"
        raise UserError(where, f"{which!r} is no slice of layers", f"slices: {GRAMMAR}; {known}")
    if not found:
        raise UserError(
            where, f"{which!r} means none of the {n_layers} layers (counted from 0)", "an empty slice would do nothing"
        )
    return found


def _holds(m: re.Match[str], i: int, n: int) -> bool:
    if m["all"]:
        return True
    if m["first"]:
        return i < int(m["first_n"] or 1)
    if m["last"]:
        return i >= n - int(m["last_n"] or 1)
    if m["every"]:
        step = int(m["every"])
        return step > 0 and i % step == int(m["at"] or 0)
    if m["from"]:
        return i >= int(m["from"])
    if m["to"]:
        return i <= int(m["to"])
    return int(m["low"]) <= i <= int(m["high"] or m["low"])


def resolve(
    n_layers: int, pattern: Sequence[str] | None, layers: Mapping[Any, Mapping[str, Any]] | None, sockets: Sequence[str]
) -> list[dict[str, Any]]:
    """For each layer, the makers that replace the model's own, by socket. Where two slices overlap, the later one wins.

    ``layers`` = {which: {socket: maker}}. UserError for a slice without layers, or a socket that is not in ``sockets``.
    """
    chosen: list[dict[str, Any]] = [{} for _ in range(n_layers)]
    for which, makers in (layers or {}).items():
        for socket in makers:
            if socket not in sockets:
                raise UserError(
                    f"layers.{which}.{socket}",
                    f"a layer has no socket {socket!r}",
                    nearest(socket, sockets, called="sockets of a layer"),
                )
        for i in indices(str(which), n_layers, pattern):
            chosen[i].update(makers)
    return chosen


def canonical(layers: Sequence[int], n_layers: int) -> list[str]:
    """The same layers as slices that need no pattern: ``all``, one index, one range, ``every<n>at<k>``, else several ranges."""
    wanted = sorted(set(layers))
    if wanted == list(range(n_layers)):
        return ["all"]
    if len(wanted) > 1 and wanted[1] - wanted[0] > 1:
        step, start = wanted[1] - wanted[0], wanted[0]
        if start < step and wanted == list(range(start, n_layers, step)):
            return [f"every{step}at{start}" if start else f"every{step}"]
    runs: list[list[int]] = []
    for i in wanted:
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return [str(r[0]) if len(r) == 1 else f"{r[0]}_{r[-1]}" for r in runs]
