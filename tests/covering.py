"""A pairwise covering array over the sockets of a small model: rows in which every pair of parts from two sockets meets at least once.

Pairs that the composer refuses are constraints of the generator, so that a refusal hides no other pair. Seeded: the same rows every time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

Cell = tuple[str, str]  # (socket, part)
Row = dict[str, str]  # socket -> part


def all_pairs(sockets: Mapping[str, Sequence[str]]) -> list[tuple[Cell, Cell]]:
    """Every two parts of different sockets."""
    return [((a, p), (b, q)) for a, b in combinations(sockets, 2) for p in sockets[a] for q in sockets[b]]


def covering_array(
    sockets: Mapping[str, Sequence[str]],
    pairs: Iterable[tuple[Cell, Cell]],
    fits: Callable[[Row], bool],
    *,
    seed: int = 0,
    tries: int = 4,
) -> tuple[list[Row], list[tuple[Cell, Cell]]]:
    """(rows, pairs that no row could hold). Each row is whole, fits, and holds at least one pair that no earlier row holds.

    Greedy: a row starts from a pair that is still open and takes, socket by socket in random order, the part with which most open pairs
    are closed; of several such rows the best is kept (Cohen et al. 1997, the AETG system).

    Args:
        sockets: the parts that each socket may hold.
        pairs: those to cover, each known to fit alone.
        fits: whether parts that are chosen so far, some sockets open, can work together.
    """
    rng = random.Random(seed)
    open_pairs = dict.fromkeys(frozenset(p) for p in pairs)
    rows: list[Row] = []
    lost: list[tuple[Cell, Cell]] = []
    while open_pairs:
        start = next(iter(open_pairs))
        candidates = [_row(sockets, start, open_pairs, fits, rng) for _ in range(tries)]
        whole = [r for r in candidates if r is not None]
        if not whole:
            del open_pairs[start]
            lost.append(tuple(sorted(start)))  # type: ignore[arg-type]
            continue
        best = max(whole, key=lambda r: len(_closed(r, open_pairs)))
        for pair in _closed(best, open_pairs):
            del open_pairs[pair]
        rows.append({s: best[s] for s in sockets})
    return rows, lost


def _row(
    sockets: Mapping[str, Sequence[str]],
    start: frozenset[Cell],
    open_pairs: Mapping[frozenset[Cell], None],
    fits: Callable[[Row], bool],
    rng: random.Random,
) -> Row | None:
    row: Row = dict(start)
    order = [s for s in sockets if s not in row]
    rng.shuffle(order)
    for socket in order:
        parts = list(sockets[socket])
        rng.shuffle(parts)
        here = list(row.items())
        parts.sort(key=lambda p: -sum(frozenset((c, (socket, p))) in open_pairs for c in here))
        chosen = next((p for p in parts if fits({**row, socket: p})), None)
        if chosen is None:
            return None
        row[socket] = chosen
    return row


def _closed(row: Row, open_pairs: Mapping[frozenset[Cell], None]) -> list[frozenset[Cell]]:
    return [f for pair in combinations(row.items(), 2) if (f := frozenset(pair)) in open_pairs]
