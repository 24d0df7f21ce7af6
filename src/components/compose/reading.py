"""The tree of a config that is spelled out, or of parts from Python, and the ways to walk a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.compose.layers import layer_of, link
from components.compose.node import Node, of_literal
from components.core import registry, slices
from components.core.config_types import Config, Value
from components.core.groups import GROUPS
from components.core.registry import Entry
from components.core.signature import Option, Signature, Type


def root_of(choices: Config) -> Node:
    """The run: a socket for each group of parts, ``{kind: its default}``, which is a list where the group holds several."""
    return Node("run", Entry("run", "config", Signature(options={kind: _group(kind, c) for kind, c in choices.items()})))


def _group(kind: str, choice: Value) -> Option:
    many = isinstance(choice, list)
    text = f"{'Makers' if many else 'Maker'}[{kind!r}]"
    return Option(kind, Type(text, kind=kind, many=many, optional=choice is None), choice)


def read_tree(config: Config) -> Node:
    """The resolved tree of a spelled-out config, or of ``{kind: a part's name and options}`` from Python, where sockets may hold any maker."""
    chosen = {
        k: v for k, v in config.items() if k in registry.kinds() and k not in GROUPS and isinstance(v, dict) and "name" in v
    }
    root = root_of(chosen)
    root.parts = {kind: of_literal(kind, v, kind) for kind, v in chosen.items()}
    return link(root)


def every_part(root: Node) -> Iterator[Node]:
    """Every part once, as a config spells it out: those of slices of layers too, not those that inherit."""
    inside = [*root.sockets.values(), *(child for held in root.members.values() for child in held)]
    inside += [child for sockets in (root.layers or {}).values() for child in sockets.values()]
    for child in inside:
        yield child
        yield from every_part(child)


def layer_by_layer(root: Node) -> Iterator[Node]:
    """Every part with what stands around it, parents first. A layer's parts come once for each set of layers that are alike."""
    for kind in registry.kinds():
        if kind in root.sockets:
            yield from _walk(root.sockets[kind])


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for members in node.members.values():
        for child in members:
            yield from _walk(child)
    stacked = node.slice_option is not None
    wired = any(child.slice_option for child in node.sockets.values())  # then the layers are walked there
    depth = node.size("n_layers") if stacked and not wired else None
    per_layer = node.layer_sockets() if isinstance(depth, int) or (stacked and wired) else []
    for name, child in node.sockets.items():
        if name not in per_layer:
            yield from _walk(child)
    if isinstance(depth, int):
        for layer in _layers(node, depth, per_layer):
            for child in layer.sockets.values():
                yield from _walk(child)


def _layers(node: Node, depth: int, sockets: list[str]) -> Iterator[Node]:
    """The layers of a stack that differ from all before them, each as a scope with its parts."""
    owner = next((scope for scope in (node, *node.scopes()) if scope.layers), node)
    own = slices.resolve(depth, node.pattern(), owner.layers, sockets)
    seen: set[tuple[tuple[str, str], ...]] = set()
    for i, chosen in enumerate(own):
        alike = tuple((socket, part.text()) for socket, part in chosen.items())
        if alike in seen:
            continue
        seen.add(alike)
        yield layer_with(node, chosen, i)


def layer_with(node: Node, chosen: Mapping[str, Node], index: int | None = None) -> Node:
    """A layer of the stack ``node`` as a scope: in its sockets what is ``chosen`` for it, else what the stack has or inherits."""
    layer = layer_of(node, f"{node.path}.{node.slice_option}")
    layer.layer = index
    for socket in node.layer_sockets():
        source = chosen.get(socket) or node.sockets.get(socket)
        if source is None and node.inherits(socket):
            source = node.inherited(socket)
        if source is not None:
            layer.sockets[socket] = link(source.copy(), source.path, layer)
    return layer
