"""A model as the tree of its registered parts, with the parameters of each: as data, and as what ``print(model)`` and a notebook show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from components.core import html
from components.core.parts_tree import Owner, parts_tree
from components.core.slices import canonical


@dataclass
class Row:
    """One line of the tree.

    Args:
        path: of the attribute that holds the part; of layers that are alike, their numbers.
        part: kind/name; empty for a list, or for numbers that are no part's.
        parameters: of the part and of what is in it; a shared one counts where it comes first.
        children: the parts in it.
        times: how many alike it stands for.
    """

    path: str
    part: str
    parameters: int
    children: list[Row] = field(default_factory=list)
    times: int = 1

    def shape(self) -> tuple[object, ...]:
        """Equal for rows that differ only in their path."""
        return self.part, self.parameters, [(c.path, c.times, c.shape()) for c in self.children]

    def as_data(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "part": self.part,
            "parameters": self.parameters,
            "times": self.times,
            "children": [c.as_data() for c in self.children],
        }


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def tree(model: nn.Module) -> Row:
    """The registered parts inside one another. Parts in a list that are alike become one row with ``times``."""
    rows = _rows(parts_tree(model), "model")
    return rows[0] if len(rows) == 1 else Row("model", "", count(model), [r for r in rows if r.part or r.children])


def _rows(owner: Owner, path: str) -> list[Row]:
    """A registered part, or a list of some, as one row; of any other module the rows in it, and one for the numbers that are no part's."""
    module, total = owner.module, owner.loose
    children: list[Row] = []
    for child in owner.children:
        name, below = child.name, _rows(child, child.name)
        total += sum(r.parameters for r in below)
        inside = [r for r in below if r.part or r.children]
        if isinstance(module, nn.ModuleList) and inside:
            alone = len(below) == 1
            children.append(below[0] if alone else Row(name, "", sum(r.parameters for r in below), inside))
            children[-1].path = name
        else:
            children += below
    label = owner.entry.label if owner.entry is not None else ""
    parts = [c for c in children if c.part or c.children]
    if label:
        return [Row(path, label, total, _alike(parts))]
    if isinstance(module, nn.ModuleList) and parts:
        return [Row(path, "", total, _alike(parts))]
    # any other module is not shown: its parts stand in its place, and its own numbers belong to the part around it
    rest = total - sum(c.parameters for c in parts)
    return [*parts, *([Row(path, "", rest)] if rest else [])]


def _alike(rows: list[Row]) -> list[Row]:
    """Numbered rows that are alike as one row: ``0-3``, ``every2``, ``0, 5-8``."""
    if not all(r.path.isdigit() for r in rows):
        return rows
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(repr(row.shape()), []).append(row)
    for group in groups.values():
        numbers = [int(r.path) for r in group]
        whole = numbers == list(range(len(rows))) and len(rows) > 1
        group[0].path = f"0-{numbers[-1]}" if whole else ", ".join(canonical(numbers, len(rows))).replace("_", "-")
        if len(rows) == 1:
            group[0].path = "0"
        group[0].times = len(group)
    return [group[0] for group in groups.values()]


def walk(row: Row, depth: int = 0) -> Iterator[tuple[int, Row]]:
    yield depth, row
    for child in row.children:
        yield from walk(child, depth + 1)


def short(n: int) -> str:
    """``1.23 M``: a number of parameters as people say it."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)


def table(row: Row) -> list[tuple[str, str, str]]:
    """(path, part, parameters) of every row, the path indented by depth; a row that stands for several alike says how many."""
    rows = []
    for depth, r in walk(row):
        times = f"  x {r.times}" if r.times > 1 else ""
        rows.append(("  " * depth + r.path + times, r.part, f"{r.parameters:,}" + (" each" if r.times > 1 else "")))
    return rows


def as_text(row: Row) -> list[str]:
    """``attention  gqa  65,536``: the table as aligned lines."""
    rows = table(row)
    widths = [max(len(r[i]) for r in rows) for i in range(3)]
    return [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]


class Printed(nn.Module):
    """A model that prints as the tree of its parts instead of as the modules of torch that they are made of."""

    def __repr__(self) -> str:
        return "\n".join(as_text(tree(self)))

    def _repr_html_(self) -> str:
        return html.table(table(tree(self)), ("", "part", "parameters"), title=f"{short(count(self))} parameters")
