"""The last step, when every choice is known: resolve the sockets that inherit, and the layers that differ."""

from __future__ import annotations

import json
from dataclasses import replace

from components.compose.node import Node
from components.compose.notes import Notes
from components.compose.sources import DEFAULT, ConfigSource, OptionValue
from components.compose.tree import Tree
from components.core import registry, slices
from components.core.config_types import Value
from components.core.errors import UserError, nearest
from components.core.inheriting import INHERIT
from components.core.registry import Entry
from components.core.signature import Signature

LAYER = "layer"  # the kind of a layer where it stands as a scope


def resolve_inheritance(tree: Tree, node: Node, path: str = "", above: Node | None = None) -> None:
    """Resolve ``node`` and all below it: where each part stands, what is in its sockets, and which layers differ.

    An edit of a socket that inherits is applied to a copy of what it inherits.

    Raises:
        UserError: nothing above has what a socket is told to inherit, or an override does not fit the part.
    """
    node.path, node.above = path, above
    if above is not None and node.kind != LAYER:
        node.layer, node.stack = above.layer, above.stack
    # `norm` before `final_norm`, which may take it
    for name in sorted(node.edits, key=lambda n: n != node.options[n].type.kind):
        with tree.attempt():
            resolve_socket(tree, node, name)
    for name, option in node.options.items():
        if option.type.many:
            node.members[name] = node.part_list(name)
        elif option.type.kind is not None and (part := node.part(name)) is not None:
            node.sockets[name] = part
    for name, members in node.members.items():
        for i, child in enumerate(members):
            resolve_inheritance(tree, child, f"{node.below(name)}.{i}", node)
    for name, child in node.sockets.items():
        resolve_inheritance(tree, child, node.below(name), node)
    with tree.attempt():
        _check_inherits(node)
    if node.slices:
        with tree.attempt():
            node.layers = _layers(tree, node)
        node.slices = []
    for which, sockets in (node.layers or {}).items():
        for socket, child in sockets.items():
            resolve_inheritance(tree, child, f"{node.below(node.slice_option or '')}.{which}.{socket}", child.above or node)


def _check_inherits(node: Node) -> None:
    """UserError where somebody set a socket to ``inherit`` and there is nothing to inherit."""
    told = [name for name, given in node.given.items() if given.value == INHERIT and given.source > DEFAULT]
    for name in told:
        kind = node.options[name].type.kind
        if kind is not None and node.inherited(name) is None:
            instead = f"{kind} parts: {', '.join(registry.names(kind))}"
            raise UserError(node.below(name), f"nothing above has a {kind} to inherit", instead)


def link(node: Node, path: str = "", above: Node | None = None) -> Node:
    """``resolve_inheritance`` for a tree in which no override is left to be applied."""
    resolve_inheritance(Tree(node, Notes()), node, path, above)
    return node


def resolve_socket(tree: Tree, node: Node, name: str) -> None:
    """Give an edited socket that inherits a part of its own: a copy of what it inherits, with the edits applied."""
    edits = node.edits.pop(name)
    path = node.below(name)
    leave = not node.inherits(name)  # the socket has stopped inheriting since: what was said before must not block
    start = node.part(name) if leave else node.inherited(name)
    if start is not None:
        node.hold(name, start if leave else start.copied_from_model())
    for edit in edits:
        if node.inherits(name):  # nothing above to start from
            if edit.path:
                kind = node.options[name].type.kind
                raise UserError(path, f"inherits its {kind}, and nothing above offers one", f"choose one first: {path}=...")
            node.given.pop(name, None)
            node.hold(name, _new_part(node, name, edit.read(), path, edit.source))
        for more in tree.apply(node, replace(edit, path=(name, *edit.path)), node.path, drop_if_unfit=leave):
            tree.apply_all(node, more, node.path)


def _new_part(node: Node, name: str, value: Value, path: str, source: ConfigSource) -> Node:
    kind = node.options[name].type.kind or ""
    chosen = value if isinstance(value, str) else value.get("preset") or value.get("name") if isinstance(value, dict) else None
    if not isinstance(chosen, str):
        raise UserError(path, f"inherits its {kind}, and nothing above offers one", f"choose one: {path}=<name>")
    return Node(kind, registry.entry(kind, chosen, path), source)


def _layers(tree: Tree, node: Node) -> dict[str, dict[str, Node]]:
    """{which: {socket: part}} for the layers that differ."""
    n_layers, pattern = node.size("n_layers"), node.pattern()
    path = f"{node.path}.{node.slice_option}"
    sockets = node.layer_sockets()
    if not isinstance(n_layers, int):
        raise UserError(path, f"{node.label} has no number of layers to slice", f"set {node.path}.n_layers")
    base = layer_of(node, path)
    for s in sockets:
        part = node.inherited(s) if node.inherits(s) else node.part(s)
        if part is not None:
            base.parts[s] = part.copied_from_model()
        else:
            base.given[s] = node.given.get(s) or OptionValue(node.value(s), DEFAULT)
    held = [base] * n_layers
    for override in sorted(node.slices, key=lambda s: (s.source.rank, s.order)):
        with tree.attempt():
            which, socket = override.path[:2]
            here = f"{path}.{which}"
            if socket not in sockets:
                raise UserError(
                    f"{here}.{socket}",
                    f"a layer has no socket {socket!r}",
                    nearest(socket, sockets, called="sockets of a layer"),
                )
            try:
                wanted = slices.indices(which, n_layers, pattern)
            except UserError as e:
                raise UserError(here, e.what, e.instead) from None
            copies: dict[int, Node] = {}
            for i in wanted:
                if id(held[i]) not in copies:
                    copies[id(held[i])] = changed = _copy_of(held[i])
                    tree.apply_all(changed, replace(override, path=override.path[1:]), here)
                    if changed.inherits(socket) and not base.inherits(socket):
                        raise UserError(
                            f"{here}.{socket}",
                            "a layer's socket has the model's part unless it is given another",
                            "leave the slice out, or name a part",
                        )
            held = [copies.get(id(layer), layer) if i in wanted else layer for i, layer in enumerate(held)]
    return _canonical(tree, base, held)


def layer_of(node: Node, path: str) -> Node:
    """A layer of a stack as a scope: its sockets, empty, with the stack above it."""
    signature = Signature(options={s: node.options[s] for s in node.layer_sockets()})
    return Node(LAYER, Entry(LAYER, LAYER, signature), path=path, above=node, stack=node.path)


def _copy_of(layer: Node) -> Node:
    copy = layer.copy()
    copy.path, copy.above, copy.stack = layer.path, layer.above, layer.stack
    return copy


def _canonical(tree: Tree, base: Node, held: list[Node]) -> dict[str, dict[str, Node]]:
    """{which: {socket: node}} that covers the same layers without a pattern and composes again alone."""
    different = {id(n): n for n in [base, *held]}
    for layer in different.values():
        mine = slices.canonical([i for i, other in enumerate(held) if other is layer], len(held))
        for socket, child in layer.parts.items():
            resolve_inheritance(tree, child, ".".join([base.path, *mine[:1], socket]), layer)
    found: dict[str, dict[str, Node]] = {}
    for socket in base.options:
        texts = {key: _text(layer, socket) for key, layer in different.items()}
        groups: dict[str, tuple[Node, list[int]]] = {}
        for i, layer in enumerate(held):
            text = texts[id(layer)]
            if text != texts[id(base)] and socket in layer.parts:
                groups.setdefault(text, (layer.parts[socket], []))[1].append(i)
        for child, where in groups.values():
            for which in slices.canonical(where, len(held)):
                copy = child.copy()
                copy.above = child.above
                found.setdefault(which, {})[socket] = copy
    order = {w: slices.indices(w, len(held)) for w in found}
    return dict(sorted(found.items(), key=lambda item: order[item[0]]))


def _text(layer: Node, socket: str) -> str:
    part = layer.part(socket)
    return json.dumps(layer.value(socket)) if part is None else part.text()
