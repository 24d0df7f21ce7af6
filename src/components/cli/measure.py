"""What `validate` and `show` print of a model: how many ids it knows, and how many parameters each part has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from components.core.contracts import NeedsModel
from components.core.errors import UserError
from components.core.makers import Bound, make
from components.core.parts_tree import Owner, parts_tree
from components.core.slices import canonical
from components.core.traits import extra_tokens

PLACEHOLDER = 1024  # ids assumed where only training will tell


@dataclass(frozen=True)
class Vocabulary:
    """Number of ids. ``note`` says why it may be another after training; empty where it will not."""

    size: int
    note: str = ""


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


def vocabulary(config: dict[str, Any]) -> Vocabulary:
    """The ids of the tokenizer, as its options say or as it knows before it read any text, and those that the loss adds."""
    found = _tokens(config)
    more = _extra(config, found.size)
    added = f"{more} of them added by loss/{config['loss']['name']}" if more else ""
    return Vocabulary(found.size + more, "; ".join(filter(None, (found.note, added))))


def _extra(config: Mapping[str, object], size: int) -> int:
    """Ids that the loss adds. A loss that cannot be made with an assumed vocabulary names ids of the tokenizer, and adds none."""
    if "loss" not in config:
        return 0
    try:
        return extra_tokens(make(Bound(config["loss"], where="loss"), "loss", vocab_size=size))
    except UserError:
        return 0


def _tokens(config: dict[str, Any]) -> Vocabulary:
    node = config["tokenizer"]
    if isinstance(node.get("vocab_size"), int):
        return Vocabulary(node["vocab_size"], "at most, as training finds pieces")
    tokenizer = make(Bound(node, where="tokenizer"), "tokenizer")
    if isinstance(tokenizer, NeedsModel):
        if not (tokenizer.run or config.get("init_from")):
            return Vocabulary(PLACEHOLDER, "assumed; that of the run that init_from= names")
        from components.runs.preparing import tokenizer_of

        return Vocabulary(tokenizer_of(config).vocab_size)
    tokenizer.train(())
    if tokenizer.vocab_size > len(tokenizer.specials):
        return Vocabulary(tokenizer.vocab_size)
    return Vocabulary(PLACEHOLDER, f"assumed; tokenizer/{node['name']} knows only when it is trained")


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
