"""Sockets that hold several parts in order: what a whole list says, and which part of one a path means."""

from __future__ import annotations

from dataclasses import replace

from components.compose.node import Node
from components.compose.notes import show
from components.compose.python_values import named
from components.compose.sources import Override
from components.core import registry
from components.core.config_types import Value, part_name
from components.core.errors import UserError, nearest


def read_list(kind: str, value: Value, override: Override, path: str) -> list[tuple[Node, list[Override]]]:
    """The parts that a value names, each a node with the overrides that its mapping still has to say.

    Raises:
        UserError: an entry is no part of the kind.
    """
    found = []
    for i, one in enumerate(value if isinstance(value, list) else [value]):
        v = named(kind, one, f"{path}.{i}")
        if not isinstance(v, str) and not (isinstance(v, dict) and "name" in v):
            raise UserError(
                f"{path}.{i}",
                f"{show(v)} is no {kind}",
                f"write a name or {{name: ...}}; {kind} parts: {', '.join(registry.names(kind))}",
            )
        spec = {"name": v} if isinstance(v, str) else v
        here = f"{path}.{i}"
        node = Node(kind, registry.entry(kind, str(part_name(spec)), here), override.source, path=here)
        inner = [replace(override, path=(k,), value=x, text=None) for k, x in spec.items() if k not in ("name", "preset")]
        found.append((node, inner))
    return found


def index_of(word: str, children: list[Node], path: str) -> int:
    """Which part of a list: by its index, or by its name if there is one of that name."""
    names = [c.name for c in children]
    if word.isdecimal() and int(word) < len(children):
        return int(word)
    if names.count(word) == 1:
        return names.index(word)
    raise UserError(f"{path}.{word}", f"the list has no part {word!r}", nearest(word, names, called="in the list"))
