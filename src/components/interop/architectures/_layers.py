"""Layers that differ: the slices of ``model.layers`` for a list of layers, and the part that each layer has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from components.core.slices import canonical, indices
from components.interop.fields import Get, Node, Options


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


def option(get: Get, socket: str, name: str, of: str, otherwise: Any = None) -> Any:
    """An option of the first part of that name among the layers."""
    return next((node.get(of) for node in each_layer(get, socket) if node.get("name") == name), otherwise)


def named(value: Node | str | None) -> Node:
    """A node of a spelled-out config, which may be its name alone, or nothing."""
    return {"name": value} if isinstance(value, str) else dict(value or {})
