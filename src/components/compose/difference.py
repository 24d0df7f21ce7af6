"""How a run differs from its recipe, or one run from another: ``model.norm: rms -> layer``, options too, in a fixed order."""

from __future__ import annotations

import json
from typing import TypeAlias, TypeGuard

from components.compose.node import Node
from components.compose.notes import show
from components.compose.reading import read_tree
from components.core import slices
from components.core.config_types import Config, Value, part_name

SKIP = ("components",)
Held: TypeAlias = (
    Node | list[Node] | Value
)  # what stands in a socket or is an option's value: a Node, a list of Nodes, or plain data


def difference(old: Config, new: Config) -> list[str]:
    """One line for each value that differs between two spelled-out configs, old -> new."""
    tree = read_tree(new)
    remember(tree, read_tree(old))
    return changes(tree, old, new)


def remember(node: Node, was: Node | None) -> None:
    """Tell each part what the recipe alone, whose part in this place is ``was``, has there."""
    node.was = was
    for name, child in node.sockets.items():
        remember(child, was.sockets.get(name) if was is not None else None)


def changes(tree: Node, old: Config, new: Config) -> list[str]:
    """Of a resolved tree that remembers what the recipe has, and of the values beside it in the spelled-out configs of both."""
    lines: list[str] = []
    for key in [*new, *(k for k in old if k not in new)]:
        if key in tree.options or (tree.was is not None and key in tree.was.options):
            lines += _differ(key, tree.was and _held(tree.was, key), _held(tree, key))
        elif key not in SKIP:
            lines += _differ(key, old.get(key), new.get(key))
    return lines


def _held(node: Node, name: str) -> Held:
    if name not in node.options:
        return None
    if node.options[name].type.many:
        return node.members[name]
    return node.sockets.get(name, node.value(name))


def _differ(path: str, old: Held, new: Held) -> list[str]:
    if isinstance(old, Node) and isinstance(new, Node):
        return _parts(path, old, new)
    if _plain(old) == _plain(new):
        return []
    if _is_mapping(old) and _is_mapping(new):
        if "name" in old and "name" in new:
            return _files(path, old, new)
        return [
            line for k in [*new, *(k for k in old if k not in new)] for line in _differ(f"{path}.{k}", old.get(k), new.get(k))
        ]
    return [f"{path}: {_short(old)} -> {_short(new)}"]


def _is_mapping(value: Held) -> TypeGuard[Config]:
    return isinstance(value, dict) and bool(value)


def _files(path: str, old: Config, new: Config) -> list[str]:
    """Of two groups that are no parts, each with a name."""
    lines = [f"{path}: {part_name(old)} -> {part_name(new)}"] if part_name(old) != part_name(new) else []
    for name, value in new.items():
        if name not in ("name", "preset"):
            lines += _differ(f"{path}.{name}", old[name], value) if name in old else [f"{path}.{name}: {show(value)}"]
    return lines


def _parts(path: str, old: Node, new: Node) -> list[str]:
    swapped = old.name != new.name
    lines = [f"{path}: {old.name} -> {new.name}"] if swapped else []
    for name, option in new.options.items():
        if option.type.slices_layers:
            lines += _layers(f"{path}.{name}", name, old, new)
        elif name in old.options:
            lines += _differ(f"{path}.{name}", _held(old, name), _held(new, name))
        elif swapped:
            lines += _added(f"{path}.{name}", _held(new, name), option.default)
    return lines


def _added(path: str, value: Held, default: Value) -> list[str]:
    """What an option that the old part does not have holds, beyond its default."""
    if not _unlike_default(value, default):
        return []
    if isinstance(value, Node) and value.name == _default_name(default):
        return [f"{path}.{k}: {show(v)}" for k, v in _said(value).items()]
    return [f"{path}: {_short(value)}"]


def _layers(path: str, name: str, old: Node, new: Node) -> list[str]:
    """Each layer of the new model beside the same layer of the old one; layers that differ alike make one line."""
    depth, was = (node.value("n_layers") if "n_layers" in node.options else None for node in (new, old))
    if not isinstance(depth, int):
        before, after = _slices(old) if name in old.options else None, _slices(new)
        return [] if before == after else [f"{path}: {show(before)} -> {show(after)}"]
    sockets = new.layer_sockets()
    fresh = slices.resolve(depth, _pattern(new), new.layers, sockets)
    known = slices.resolve(was, _pattern(old), old.layers, sockets) if isinstance(was, int) and name in old.options else []
    found: dict[str, tuple[list[str], list[int]]] = {}
    for i, makers in enumerate(fresh):
        for socket in sockets:
            own = i < len(known) and socket in known[i]
            if socket in makers or own:
                before = known[i][socket] if own else _held(old, socket)
                lines = _differ(socket, before, makers.get(socket, _held(new, socket)))
                if lines:
                    found.setdefault(json.dumps([socket, lines]), (lines, []))[1].append(i)
    out = []
    for lines, layers in found.values():
        for which in slices.canonical(layers, depth):
            out += [f"{path}.{which}.{line}" for line in lines]
    return out


def _pattern(node: Node) -> list[str]:
    """The part's own: a config in which it is not written has none."""
    names = node.value("pattern") if "pattern" in node.options else None
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []


def _slices(node: Node) -> Value:
    return node.spelled()[node.slice_option] if node.slice_option else None


def _default_name(default: Value) -> Value:
    return default.get("name") if isinstance(default, dict) else default


def _unlike_default(value: Held, default: Value) -> bool:
    if isinstance(value, Node):
        return value.name != _default_name(default) or bool(_said(value))
    return _plain(value) != default


def _plain(value: Held) -> Value:
    """A part as its spelled-out mapping."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.spelled() if isinstance(value, Node) else value


def _short(value: Held) -> str:
    """A part by its name and what differs from its defaults."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    if not isinstance(value, Node):
        return show(value)
    said = _said(value)
    return show({"name": value.name, **said}) if said else value.name


def _said(node: Node) -> Config:
    """The options of a part that differ from its own defaults."""
    out: Config = {}
    for name, option in node.options.items():
        value = _slices(node) if option.type.slices_layers else _held(node, name)
        if _unlike_default(value, option.default):
            out[name] = _short(value) if isinstance(value, Node) else _plain(value)
    return out
