"""A spelled-out config walked as a tree of parts, layer by layer where layers differ, each part with what stands above it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from components.compose.layers import layer_sockets
from components.core import registry, slices
from components.core.groups import GROUPS
from components.core.makers import INHERIT
from components.core.registry import Entry


@dataclass
class Part:
    """One part of the config. ``above``: the parts around it, nearest first; ``layer`` of ``stack`` if it stands in a layer."""

    path: str
    kind: str
    entry: Entry
    node: dict[str, Any]
    above: list[Part] = field(default_factory=list)
    layer: int | None = None
    stack: str = ""
    sockets: dict[str, Part] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.entry.label

    def declared(self, what: str) -> list[str]:
        value = self.entry.signature.declared.get(what) or ()
        return [value] if isinstance(value, str) else list(value)

    def in_scope(self, kind: str) -> list[Part]:
        """The nearest part of a kind: around this one, or in a socket of what is around it."""
        for scope in self.above:
            if scope.kind == kind:
                return [scope]
            named = scope.sockets.get(kind)
            found = [named] if named else [p for p in scope.sockets.values() if p.kind == kind and p is not self]
            if found and found != [self]:
                return found
        return []


def parts_of(config: dict[str, Any]) -> Iterator[Part]:
    """Every part, parents first. A layer's parts come once for each set of layers that are alike."""
    root = Part("", "", Entry("run", "config", registry.Signature()), {})
    for kind in (k for k in registry.kinds() if k not in GROUPS):
        node = config.get(kind)
        if isinstance(node, dict) and "name" in node:
            root.sockets[kind] = _part(kind, node, kind, [root])
    for part in root.sockets.values():
        yield from _walk(part)


def _part(path: str, node: dict[str, Any], kind: str, above: list[Part], layer: int | None = None, stack: str = "") -> Part:
    entry = registry.entry(kind, str(node.get("preset") or node["name"]), path)
    return Part(path, kind, entry, node, above, layer, stack)


def _walk(part: Part) -> Iterator[Part]:
    yield part
    signature = part.entry.signature
    stacked = _sliced(signature)
    for name, option in signature.sockets().items():
        value = part.node.get(name)
        if option.type.many:
            for i, inner in enumerate(value or []):
                yield from _walk(
                    _part(f"{part.path}.{name}.{i}", inner, option.type.kind or "", [part, *part.above], part.layer, part.stack)
                )
        elif isinstance(value, dict):
            part.sockets[name] = _part(
                f"{part.path}.{name}", value, option.type.kind or "", [part, *part.above], part.layer, part.stack
            )
    wired = any(_sliced(child.entry.signature) for child in part.sockets.values())  # then the layers are walked there
    depth = _value(part, "n_layers") if stacked and not wired else None
    per_layer = layer_sockets(signature) if isinstance(depth, int) or (stacked and wired) else []
    for name, child in part.sockets.items():
        if name not in per_layer:
            yield from _walk(child)
    if isinstance(depth, int):
        yield from _layers(part, depth, per_layer, stacked or "")


def _sliced(signature: registry.Signature) -> str | None:
    """The option that says which layers have parts of their own, if there is one."""
    return next((n for n, o in signature.options.items() if o.type.text.split(" ")[0] == "Slices"), None)


def _layers(part: Part, depth: int, sockets: list[str], option: str) -> Iterator[Part]:
    """Layers that are alike are walked once, at the first of them."""
    owner = next((s for s in (part, *part.above) if s.node.get(option)), part)
    own = slices.resolve(depth, _value(part, "pattern"), owner.node.get(option), sockets)
    seen: list[dict[str, Any]] = []
    for i, makers in enumerate(own):
        if makers in seen:
            continue
        seen.append(makers)
        which = {
            s: next(
                w
                for w, m in reversed(owner.node[option].items())
                if s in m and i in slices.indices(str(w), depth, _value(part, "pattern"))
            )
            for s in makers
        }
        layer = Part(
            f"{part.path}.{option}",
            "layer",
            Entry("layer", "layer", registry.Signature()),
            {},
            [part, *part.above],
            i,
            part.path,
        )
        for socket in sockets:
            value = makers.get(socket, part.node.get(socket))
            kind = part.entry.signature.options[socket].type.kind or ""
            if isinstance(value, dict):
                path = f"{owner.path}.{option}.{which[socket]}.{socket}" if socket in which else f"{part.path}.{socket}"
                layer.sockets[socket] = _part(path, value, kind, [layer, part, *part.above], i, part.path)
            elif value == INHERIT and (found := _inherited(part, socket, kind)) is not None:
                layer.sockets[socket] = Part(
                    found.path, kind, found.entry, found.node, [layer, part, *part.above], i, part.path
                )
        for child in layer.sockets.values():
            yield from _walk(child)


def _inherited(part: Part, name: str, kind: str) -> Part | None:
    """What a socket of ``part`` takes from above, by its name, else by its kind."""
    for scope in (part, *part.above):
        for candidate in (name, kind):
            if candidate in scope.sockets and not (scope is part and candidate == name):
                return scope.sockets[candidate]
    return None


def _value(part: Part, name: str) -> Any:
    for scope in (part, *part.above):
        if scope.node.get(name) not in (None, INHERIT, [], ()):
            return scope.node[name]
    return None
