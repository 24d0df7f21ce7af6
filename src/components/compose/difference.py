"""How one spelled-out config differs from another: ``model.norm: rms -> layer``, options too, in a fixed order."""

from __future__ import annotations

import json
from typing import Any

from components.compose.layers import layer_sockets
from components.compose.notes import show
from components.core import registry, slices
from components.core.groups import GROUPS

SKIP = ("components",)


def difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each value that differs, old -> new. Layers are compared one by one, whatever slices they are written in."""
    lines: list[str] = []
    for key in [*new, *(k for k in old if k not in new)]:
        if key not in SKIP:
            lines += _differ(key, old.get(key), new.get(key), key if key in registry.kinds() and key not in GROUPS else None)
    return lines


def _differ(path: str, old: Any, new: Any, kind: str | None) -> list[str]:
    if old == new:
        return []
    if _is_node(old) and _is_node(new):
        return _nodes(path, old, new, kind)
    if isinstance(old, dict) and isinstance(new, dict) and not _is_node(old) and not _is_node(new) and old and new:
        return [
            line
            for k in [*new, *(k for k in old if k not in new)]
            for line in _differ(f"{path}.{k}", old.get(k), new.get(k), None)
        ]
    return [f"{path}: {_short(old, kind)} -> {_short(new, kind)}"]


def _nodes(path: str, old: dict[str, Any], new: dict[str, Any], kind: str | None) -> list[str]:
    swapped = name_of(old) != name_of(new)
    lines = [f"{path}: {name_of(old)} -> {name_of(new)}"] if swapped else []
    entry = registry.entry(kind, name_of(new)) if kind else None
    options = entry.signature.options if entry else {}
    slice_option = next((n for n, o in options.items() if o.type.text.split(" ")[0] == "Slices"), None)
    for name, value in new.items():
        if name in ("name", "preset"):
            continue
        option = options.get(name)
        inner = option.type.kind if option else None
        if name == slice_option and entry is not None:
            lines += _layers(f"{path}.{name}", old, new, name, layer_sockets(entry.signature))
        elif name in old:
            lines += _differ(f"{path}.{name}", old[name], value, inner)
        elif option is None:
            lines.append(f"{path}.{name}: {show(value)}")
        elif swapped:
            lines += _new(f"{path}.{name}", value, option.default, inner)
    return lines


def _new(path: str, value: Any, default: Any, kind: str | None) -> list[str]:
    """What an option that the old part does not have holds, beyond its default."""
    if not _unlike_default(value, default, kind):
        return []
    if _is_node(value) and name_of(value) == (default.get("name") if isinstance(default, dict) else default):
        return [f"{path}.{k}: {show(v)}" for k, v in _said(value, kind).items()]
    return [f"{path}: {_short(value, kind)}"]


def _layers(path: str, old: dict[str, Any], new: dict[str, Any], name: str, sockets: list[str]) -> list[str]:
    """Each layer of the new model beside the same layer of the old one; layers that differ alike make one line."""
    depth, was = new.get("n_layers"), old.get("n_layers")
    if not isinstance(depth, int):
        return [] if old.get(name) == new.get(name) else [f"{path}: {show(old.get(name))} -> {show(new.get(name))}"]
    fresh = slices.resolve(depth, new.get("pattern"), new.get(name), sockets)
    known = slices.resolve(was, old.get("pattern"), old.get(name), sockets) if isinstance(was, int) and name in old else []
    found: dict[str, tuple[str, list[str], list[int]]] = {}
    for i, makers in enumerate(fresh):
        for socket in sockets:
            before = known[i].get(socket, old.get(socket)) if i < len(known) else old.get(socket)
            after = makers.get(socket, new.get(socket))
            own = i < len(known) and socket in known[i]
            if (socket in makers or own) and before != after:
                lines = _differ(socket, before, after, sockets_kind(socket, new))
                found.setdefault(json.dumps([socket, lines]), (socket, lines, []))[2].append(i)
    out = []
    for _, lines, layers in found.values():
        for which in slices.canonical(layers, depth):
            out += [f"{path}.{which}.{line}" for line in lines]
    return out


def sockets_kind(socket: str, node: dict[str, Any]) -> str | None:
    """The kind of a socket of any part that has the name of ``node``."""
    for (_, name), entry in registry.entries().items():
        if name == node["name"] and socket in entry.signature.options:
            return entry.signature.options[socket].type.kind
    return None


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def name_of(node: dict[str, Any]) -> str:
    return str(node.get("preset") or node["name"])


def _unlike_default(value: Any, default: Any, kind: str | None) -> bool:
    if not _is_node(value):
        return value != default
    return name_of(value) != (default.get("name") if isinstance(default, dict) else default) or bool(_said(value, kind))


def _short(value: Any, kind: str | None) -> str:
    """A node by its name and what differs from its defaults."""
    if isinstance(value, list):
        return "[" + ", ".join(_short(v, kind) for v in value) + "]"
    if not _is_node(value):
        return show(value)
    said = _said(value, kind)
    return show({"name": name_of(value), **said}) if said else name_of(value)


def _said(node: dict[str, Any], kind: str | None) -> dict[str, Any]:
    """The options of a node that differ from its part's defaults."""
    options = registry.entry(kind, name_of(node)).signature.options if kind else {}
    out: dict[str, Any] = {}
    for name, value in node.items():
        if name in ("name", "preset"):
            continue
        option = options.get(name)
        inner = option.type.kind if option else None
        if option is None or _unlike_default(value, option.default, inner):
            out[name] = _short(value, inner) if _is_node(value) else value
    return out
