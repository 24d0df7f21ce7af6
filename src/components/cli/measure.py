"""A composed model on the meta device: how many parameters each part has, without memory or time for any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from components.core import registry
from components.core.errors import UserError
from components.core.makers import Bound, make
from components.core.slices import canonical

PLACEHOLDER = 1024  # ids assumed where only training will tell


@dataclass(frozen=True)
class Vocabulary:
    """Number of ids; ``note`` says why it may differ after training, or is empty."""

    size: int
    note: str = ""


@dataclass
class Row:
    """One part in the tree, with the parameters that it and what is in it own; a shared one counts where it comes first."""

    path: str
    part: str
    parameters: int
    children: list[Row] = field(default_factory=list)
    times: int = 1

    def shape(self) -> Any:
        """Equal for rows that differ in their path only."""
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
    """What the tokenizer will have, as its options say or as it knows without any text, and the ids that the loss adds."""
    found = _tokens(config)
    more = _extra(config, found.size)
    added = f"{more} of them added by loss/{config['loss']['name']}" if more else ""
    return Vocabulary(found.size + more, "; ".join(filter(None, (found.note, added))))


def _extra(config: dict[str, Any], size: int) -> int:
    """Ids beyond the tokenizer's; a loss that cannot be made with an assumed vocabulary names ids of its own, and adds none."""
    if "loss" not in config:
        return 0
    try:
        return int(getattr(make(Bound(config["loss"], where="loss"), "loss", vocab_size=size), "extra_tokens", 0))
    except UserError:
        return 0


def _tokens(config: dict[str, Any]) -> Vocabulary:
    node = config["tokenizer"]
    if isinstance(node.get("vocab_size"), int):
        return Vocabulary(node["vocab_size"], "at most, as training finds pieces")
    tokenizer = make(Bound(node, where="tokenizer"), "tokenizer")
    if getattr(tokenizer, "wants", None) == "run":
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
    """The registered parts inside one another; neighbours in a list that are alike become one row with ``times``."""
    labels = {(e.module, e.qualname): e.label for e in registry.entries().values() if not e.preset_of}
    rows = _rows(model, "model", labels, set())
    return rows[0] if len(rows) == 1 else Row("model", "", count(model), [r for r in rows if r.part or r.children])


def _rows(module: nn.Module, path: str, labels: dict[tuple[str, str], str], seen: set[int]) -> list[Row]:
    own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
    seen.update(map(id, own))
    total = sum(p.numel() for p in own)
    children: list[Row] = []
    for name, child in module.named_children():
        below = _rows(child, name, labels, seen)
        total += sum(r.parameters for r in below)
        inside = [r for r in below if r.part or r.children]
        if isinstance(module, nn.ModuleList) and inside:
            alone = len(below) == 1
            children.append(below[0] if alone else Row(name, "", sum(r.parameters for r in below), inside))
            children[-1].path = name
        else:
            children += below
    label = labels.get((type(module).__module__, type(module).__qualname__), "")
    parts = [c for c in children if c.part or c.children]
    if label:
        return [Row(path, label, total, _alike(parts))]
    if isinstance(module, nn.ModuleList) and parts:
        return [Row(path, "", total, _alike(parts))]
    # what is no part is seen through: its parts stand where it stands, its own numbers belong to who holds it
    rest = total - sum(c.parameters for c in parts)
    return [*parts, *([Row(path, "", rest)] if rest else [])]


def _alike(rows: list[Row]) -> list[Row]:
    """Rows that a list numbers and that are alike, as one: ``0-3``, ``every2``, ``0, 5-8``."""
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
