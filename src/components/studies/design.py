"""From the words of a command to the combinations that are compared: each choice alone, all, or every pair at least once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from components.compose.grammar import parse
from components.compose.multirun import quoted
from components.compose.request import BEGINNINGS, Request
from components.core.errors import UserError

Design: TypeAlias = Literal["one", "grid", "cover"]
DESIGNS: tuple[str, ...] = get_args(Design)
Combination: TypeAlias = tuple[str, ...]  # overrides


@dataclass(frozen=True)
class Words:
    """Overrides sorted by what they do.

    Args:
        fixed: those of every run.
        axes: for each word with several values, one override for each of them.
    """

    fixed: tuple[str, ...]
    axes: tuple[Combination, ...]


def sorted_words(overrides: Sequence[str], cwd: Path) -> Words:
    """Take sweeps apart as ``--multirun`` does.

    Raises:
        UserError: a word that cannot be read, or one that no study can vary.
    """
    request = Request.of(overrides)
    if request.hydra:
        raise UserError(repr(request.hydra[0]), "Hydra's own settings stand apart", "give launcher=joblib, or leave it out")
    fixed, axes = [], []
    for argument in request.arguments:
        word = quoted(argument, cwd, request.arguments)
        read = parse(word, argument.typed)
        if not read.is_sweep_override():
            fixed.append(word)
            continue
        if argument.path[0] in (*BEGINNINGS, "seed"):
            instead = "give seeds=N" if argument.path[0] == "seed" else "make a study for each"
            raise UserError(argument.key, "is the same for all that is compared", instead)
        choices = tuple(f"{word.partition('=')[0]}={value}" for value in read.sweep_string_iterator())
        axes.append(choices)
    return Words(tuple(fixed), tuple(axes))


def combinations_of(design: str, axes: Sequence[Combination]) -> list[Combination]:
    """The combinations of a design, without the recipe itself.

    Raises:
        UserError: there is nothing to compare.
    """
    if design not in DESIGNS:
        raise UserError("design", f"unknown design {design!r}", f"one of {', '.join(DESIGNS)}")
    if not axes:
        raise UserError("components ablate", "nothing is compared", "write several values, with commas: model/norm=rms,layer")
    if design == "one" or len(axes) == 1:
        return [(choice,) for axis in axes for choice in axis]
    return list(product(*axes)) if design == "grid" else cover(axes)


def cover(axes: Sequence[Combination]) -> list[Combination]:
    """Rows in which every two choices of different axes meet at least once; greedy, and the same each time.

    Each row begins with the first pair that is still open, and takes on every other axis the choice that closes most open pairs
    (after Cohen et al. 1997, the AETG system).
    """
    places = range(len(axes))
    open_pairs = {((a, x), (b, y)): None for a, b in combinations(places, 2) for x in axes[a] for y in axes[b]}
    rows = []
    while open_pairs:
        row = dict(next(iter(open_pairs)))
        for place in places:
            if place not in row:
                row[place] = max(axes[place], key=lambda x, p=place: sum(_pair((p, x), c) in open_pairs for c in row.items()))
        for one, other in combinations(sorted(row.items()), 2):
            open_pairs.pop((one, other), None)
        rows.append(tuple(row[p] for p in places))
    return rows


def _pair(one: tuple[int, str], other: tuple[int, str]) -> tuple[tuple[int, str], tuple[int, str]]:
    return (one, other) if one[0] < other[0] else (other, one)
