"""The last step, when every choice is known: sockets that inherit with changes of their own, and layers that differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from components.compose.node import Node
from components.compose.stations import DEFAULT, Given
from components.compose.tree import Tree
from components.core import registry, slices
from components.core.errors import UserError, nearest
from components.core.makers import INHERIT
from components.core.registry import Entry
from components.core.signature import Signature


def finish(tree: Tree, node: Node, where: str, above: Sequence[Node]) -> None:
    """Give every inheriting socket that was edited a node of its own, and every slice its layers, below and including ``node``."""
    for name in list(node.edits):
        settle(tree, node, name, where, above)
    for name, child in list(node.parts.items()):
        finish(tree, child, f"{where}.{name}".lstrip("."), [node, *above])
    for name, given in node.given.items():
        if (
            given.value == INHERIT
            and given.station > DEFAULT
            and node.options[name].type.kind
            and inherited(tree, node, name, where, above) is None
        ):
            kind, path = node.options[name].type.kind or "", f"{where}.{name}".lstrip(".")
            raise UserError(path, f"nothing above has a {kind} to inherit", f"{kind} parts: {', '.join(registry.names(kind))}")
    if node.slices:
        _layers(tree, node, where, above)


def settle(tree: Tree, node: Node, name: str, where: str, above: Sequence[Node]) -> None:
    """A socket that inherits and was edited: what it inherits, with the edits."""
    edits = node.edits.pop(name, [])
    if not edits:
        return
    path = f"{where}.{name}".lstrip(".")
    source = inherited(tree, node, name, where, above) if node.inherits(name) else node.part(name)
    leave = not node.inherits(name)  # the socket has stopped inheriting since: what was said before must not block
    if source is not None:
        node.hold(name, source.lent() if node.inherits(name) else source)
    for edit in edits:
        if node.inherits(name):  # nothing above to start from
            if edit.path:
                kind = node.options[name].type.kind
                raise UserError(path, f"inherits its {kind}, and nothing above offers one", f"choose one first: {path}=...")
            node.given.pop(name, None)
            node.hold(name, _fresh(node, name, edit.read(), path, edit.station))
        for more in tree.put(node, replace(edit, path=(name, *edit.path)), where, lenient=leave):
            tree.put_all(node, more, where)


def _fresh(node: Node, name: str, value: Any, path: str, station: Any) -> Node:
    kind = node.options[name].type.kind or ""
    chosen = value if isinstance(value, str) else value.get("preset") or value.get("name") if isinstance(value, dict) else None
    if not isinstance(chosen, str):
        raise UserError(path, f"inherits its {kind}, and nothing above offers one", f"choose one: {path}=<name>")
    return Node(kind, registry.entry(kind, chosen, path), station)


def inherited(tree: Tree, node: Node, name: str, where: str, above: Sequence[Node]) -> Node | None:
    """The part that an inheriting socket takes: the nearest above by the socket's name, else by its kind, as ``makers.make`` does."""
    kind = node.options[name].type.kind
    scopes = [node, *above]
    for depth, scope in enumerate(scopes):
        for candidate in (name, kind):
            if candidate is None or candidate not in scope.options or (scope is node and candidate == name):
                continue
            option = scope.options[candidate]
            if option.type.kind != kind or option.type.many:
                continue
            settle(tree, scope, candidate, _above(where, depth), scopes[depth + 1 :])
            if not scope.inherits(candidate):
                return scope.part(candidate)
            return inherited(tree, scope, candidate, _above(where, depth), scopes[depth + 1 :])
    return None


def _above(where: str, levels: int) -> str:
    return ".".join(where.split(".")[: len(where.split(".")) - levels]) if levels else where


def size(node: Node, name: str, above: Sequence[Node]) -> Any:
    """An option of the stack, or of the nearest part above that has it set, where its own is null (the sides of an encoder-decoder)."""
    for scope in (node, *above):
        if name in scope.options and scope.value(name) not in (None, INHERIT):
            return scope.value(name)
    return None


def layer_sockets(signature: Signature) -> list[str]:
    """The sockets that each layer of a stack has: what it declares as ``per_layer``, else all of them."""
    sockets = [n for n, o in signature.sockets().items() if not o.type.many]
    declared = signature.declared.get("per_layer")
    return sockets if declared is None else [s for s in sockets if s in declared]


def _layers(tree: Tree, node: Node, where: str, above: Sequence[Node]) -> None:
    n_layers, pattern = size(node, "n_layers", above), size(node, "pattern", above)
    path = f"{where}.{node.slice_option}"
    sockets = layer_sockets(node.entry.signature)
    if not isinstance(n_layers, int):
        raise UserError(path, f"{node.entry.label} has no number of layers to slice", f"set {where}.n_layers")
    signature = Signature(options={s: node.options[s] for s in sockets})
    base = Node("layer", Entry("layer", "layer", signature))
    for s in sockets:
        part = inherited(tree, node, s, where, above) if node.inherits(s) else node.part(s)
        if part is not None:
            base.parts[s] = part.lent()
        else:
            base.given[s] = node.given.get(s) or Given(node.value(s), DEFAULT)
    held = [base] * n_layers
    for said in sorted(node.slices, key=lambda s: (s.station.rank, s.order)):
        which, socket = said.path[:2]
        here = f"{path}.{which}"
        if socket not in sockets:
            raise UserError(
                f"{here}.{socket}", f"a layer has no socket {socket!r}", nearest(socket, sockets, called="sockets of a layer")
            )
        try:
            wanted = slices.indices(which, n_layers, pattern)
        except UserError as e:
            raise UserError(here, e.what, e.instead) from None
        copies: dict[int, Node] = {}
        for i in wanted:
            if id(held[i]) not in copies:
                copies[id(held[i])] = changed = deepcopy(held[i])
                tree.put_all(changed, replace(said, path=said.path[1:]), here)
                if changed.inherits(socket) and not base.inherits(socket):
                    raise UserError(
                        f"{here}.{socket}",
                        "a layer's socket has the model's part unless it is given another",
                        "leave the slice out, or name a part",
                    )
            held[i] = copies[id(held[i])]
    node.layers = _canonical(tree, node, base, held, path, above)


def _canonical(
    tree: Tree, node: Node, base: Node, held: list[Node], path: str, above: Sequence[Node]
) -> dict[str, dict[str, Node]]:
    """{which: {socket: node}} that covers the same layers without a pattern and composes again alone."""
    for layer in {id(n): n for n in [base, *held]}.values():
        mine = slices.canonical([i for i, other in enumerate(held) if other is layer], len(held))
        for socket, child in layer.parts.items():
            finish(tree, child, ".".join([path, *mine[:1], socket]), [layer, node, *above])
    found: dict[str, dict[str, Node]] = {}
    for socket in base.options:
        own = _spelled(base, socket, path)
        groups: dict[str, tuple[Node, list[int]]] = {}
        for i, layer in enumerate(held):
            text = _spelled(layer, socket, path)
            if text != own and socket in layer.parts:
                groups.setdefault(text, (layer.parts[socket], []))[1].append(i)
        for child, where in groups.values():
            for which in slices.canonical(where, len(held)):
                found.setdefault(which, {})[socket] = child
    order = {w: slices.indices(w, len(held)) for w in found}
    return dict(sorted(found.items(), key=lambda item: order[item[0]]))


def _spelled(layer: Node, socket: str, path: str) -> str:
    part = layer.part(socket)
    return json.dumps(layer.value(socket) if part is None else part.spelled(f"{path}.{socket}"), sort_keys=True)
