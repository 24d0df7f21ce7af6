"""Sockets that hold several parts in order: written whole, or edited part by part, by place or by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from components import registry
from components.compose.grammar import refuse_targets
from components.compose.node import Node
from components.compose.notes import show
from components.compose.stations import Given, Said
from components.errors import UserError, nearest

if TYPE_CHECKING:
    from components.compose.tree import Tree


def put_list(tree: Tree, node: Node, head: str, said: Said, path: str, lenient: bool) -> None:
    kind = node.options[head].type.kind or ""
    if said.path:
        children = node.part_list(head)
        index = _place(said.path[0], children, path)
        _edit(tree, children[index], replace(said, path=said.path[1:]), f"{path}.{index}", lenient)
        node.forget(head)
        node.lists[head] = (children, said.station)
        return
    value = said.read()
    refuse_targets(value, path)
    if value is None and node.options[head].type.optional:
        node.forget(head)
        node.given[head] = Given(None, said.station)
        return
    values = value if isinstance(value, list) else [value]
    children = []
    for i, v in enumerate(values):
        if not isinstance(v, str) and not (isinstance(v, dict) and "name" in v):
            raise UserError(
                f"{path}.{i}",
                f"{show(v)} is no {kind}",
                f"write a name or {{name: ...}}; {kind} parts: {', '.join(registry.names(kind))}",
            )
        spec = {"name": v} if isinstance(v, str) else v
        child = Node(kind, registry.entry(kind, str(spec.get("preset") or spec["name"]), f"{path}.{i}"), said.station)
        for k, inner in spec.items():
            if k not in ("name", "preset"):
                tree.put_all(child, replace(said, path=(k,), value=inner, text=None), f"{path}.{i}")
        children.append(child)
    if said.spelled and [c.spelled(path) for c in children] == [c.spelled(path) for c in node.part_list(head)]:
        return
    node.forget(head)
    node.lists[head] = (children, said.station)


def _edit(tree: Tree, node: Node, said: Said, where: str, lenient: bool) -> None:
    if not said.path:
        raise UserError(
            where,
            "a part of a list is edited option by option",
            f"or write the whole list, {where.rpartition('.')[0]}=[...]",
        )
    for inner in tree.put(node, said, where, lenient=lenient):
        tree.put_all(node, inner, where)


def _place(word: str, children: list[Node], path: str) -> int:
    """Which part of a list: by its index, or by its name if there is one of that name."""
    names = [c.name for c in children]
    if word.isdecimal() and int(word) < len(children):
        return int(word)
    if names.count(word) == 1:
        return names.index(word)
    raise UserError(f"{path}.{word}", f"the list has no part {word!r}", nearest(word, names, called="in the list"))
