"""A part from Python, by name: its options are checked as a config's are, and so is whether the parts in it can work together. Imports no torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from components.compose.check import check
from components.compose.node import of_literal
from components.core import registry
from components.core.errors import UserError
from components.core.makers import INHERIT, make
from components.core.option_types import Type


def build(kind: str, name: str, /, *, seed: int | None = None, **offers_and_options: Any) -> Any:
    """Make the part ``kind/name`` from Python: sizes and options by name, each checked against the part's signature.

    ``build("attention", "gqa", d_model=512, n_heads=8, n_kv_heads=2)``. A socket takes any maker; nothing is held against a
    function or a class that is not registered.

    A model draws each weight from a generator of its own, seeded by ``seed`` (0 if left out) and the weight's name: ``torch.manual_seed`` changes
    nothing, and a swap leaves all other weights as they were. A part alone has what its torch modules draw from the global generator.

    Raises:
        UserError: an unknown part, size or option, a value that the option does not allow, two parts that cannot work together, or a seed
            for what is no model.
    """
    entry = registry.entry(kind, name)
    if seed is not None and ("seed" in entry.signature.options or "seed" in entry.signature.sizes):
        offers_and_options["seed"], seed = seed, None  # the part's own
    offers = {k: v for k, v in offers_and_options.items() if k in registry.KINDS[kind].offers or k in entry.signature.sizes}
    node = {"name": name, **{k: v for k, v in offers_and_options.items() if k not in offers}}
    part = make(node, kind, **offers)
    check({kind: of_literal(kind, _named(kind, node)).spelled(kind)})  # after: a name that is not there is the nearer fault
    if seed is not None:
        from components.core.weights import redraw  # torch, which whatever has weights has imported

        try:
            redraw(part, seed)
        except ValueError as e:
            raise UserError(f"{entry.label}.seed", str(e), "leave it out, or call torch.manual_seed before") from e
    return part


def _named(kind: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The node with every maker as a node; a socket that holds one of which nothing is known counts as one that inherits."""
    entry = registry.entry(kind, node.get("preset") or node["name"])
    types = {n: o.type for n, o in entry.signature.options.items()}
    held: dict[str, Any] = {}
    for name, value in node.items():
        name = entry.renamed.get(name, name)
        if name in types and types[name].text.split(" ")[0] == "Slices":
            held[name] = {which: _layer(types, sockets) for which, sockets in (value or {}).items()}
        elif name not in types or types[name].kind is None or value is None:
            held[name] = value
        elif types[name].many:
            held[name] = [m for v in value if (m := _maker(types[name].kind, v)) != INHERIT]
        else:
            held[name] = _maker(types[name].kind, value)
    return held


def _layer(types: Mapping[str, Type], sockets: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of one slice, spelled out: nothing above a slice does so."""
    held: dict[str, Any] = {}
    for name, value in sockets.items():
        maker, kind = _maker(types[name].kind, value), types[name].kind or ""
        held[name] = of_literal(kind, maker).spelled(name) if isinstance(maker, dict) else maker
    return held


def _maker(kind: str | None, value: Any) -> Any:
    """What a maker says of itself: a name, a node, the class of a registered part or a partial of it; of any other function nothing is known."""
    options: dict[str, Any] = {}
    while isinstance(value, functools.partial):
        options, value = {**value.keywords, **options}, value.func
    if callable(value):
        where = (getattr(value, "__module__", ""), getattr(value, "__qualname__", ""))
        known = (e.name for e in registry.entries(kind or "").values() if not e.preset_of and (e.module, e.qualname) == where)
        value = next(known, INHERIT)
    if isinstance(value, Mapping):
        return _named(kind or "", value)
    return INHERIT if value == INHERIT else _named(kind or "", {"name": value, **options})
