"""Layers that differ: the slices of ``model.layers`` for a list of layers, and the part that each layer has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from components.core.slices import canonical, indices
from components.interop.fields import Custom, Fields, Get, Node, Options, Theirs


def in_layers(layers: Iterable[int], n_layers: int, socket: str, node: Node | str) -> Options:
    """Options that give these layers ``node`` at ``socket``."""
    chosen = list(layers)
    return {f"model.layers.{which}.{socket}": node for which in (canonical(chosen, n_layers) if chosen else ())}


def each_layer(get: Get, socket: str) -> list[Node]:
    """What every layer has at ``socket``, in a spelled-out config."""
    n_layers = get("model.n_layers")
    held = [named(get(f"model.{socket}"))] * n_layers
    for which, sockets in (get("model.layers") or {}).items():
        if socket in sockets:
            for i in indices(str(which), n_layers):
                held[i] = named(sockets[socket])
    return held


def layers_of(get: Get, socket: str, name: str) -> list[int]:
    """The layers whose part at ``socket`` has this name."""
    return [i for i, node in enumerate(each_layer(get, socket)) if node.get("name") == name]


def unrotated(
    names: tuple[str, ...], read: Callable[[Theirs], Iterable[int]], write: Callable[[list[bool]], Fields] = lambda _: {}
) -> Custom:
    """Layers without rotation among layers that turn queries and keys.

    Args:
        names: the fields that say which.
        read: gives the layers, from a config.json.
        write: gives the fields, from a list that says of each layer whether it turns; nothing where another field of the class says it.
    """

    def read_layers(config: Theirs) -> Options:
        return in_layers(read(config), config["num_hidden_layers"], "position", "none")

    def write_layers(get: Get) -> Fields:
        return write([node.get("name") != "none" for node in each_layer(get, "position")])

    return Custom(names, read_layers, write_layers)


def option(get: Get, socket: str, name: str, of: str, otherwise: Any = None) -> Any:
    """An option of the first part of that name among the layers."""
    return next((node.get(of) for node in each_layer(get, socket) if node.get("name") == name), otherwise)


def named(value: Node | str | None) -> Node:
    """A node of a spelled-out config, which may be its name alone, or nothing."""
    return {"name": value} if isinstance(value, str) else dict(value or {})
