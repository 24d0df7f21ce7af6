"""A chosen part and what was said about its options, each with its station. What nobody said is read from the signature."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from components.compose.stations import DEFAULT, Given, Said, Station
from components.core import registry
from components.core.errors import UserError
from components.core.makers import INHERIT
from components.core.registry import Entry
from components.core.signature import REQUIRED, Option


@dataclass
class Node:
    """One part in the tree. ``station``: where this part was last chosen, DEFAULT if nobody did.

    A socket's state is one of: a Node in ``parts``, a list in ``lists``, a Given (``inherit`` or null), or the signature's default.
    """

    kind: str
    entry: Entry
    station: Station = DEFAULT
    borrowed: bool = False
    given: dict[str, Given] = field(default_factory=dict)
    parts: dict[str, Node] = field(default_factory=dict)
    lists: dict[str, tuple[list[Node], Station]] = field(default_factory=dict)
    edits: dict[str, list[Said]] = field(default_factory=dict)  # on a socket that inherits: applied when all else is known
    slices: list[Said] = field(default_factory=list)  # on layers: likewise; paths start at <which>
    layers: dict[str, dict[str, Node]] | None = None  # what came of the slices

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def options(self) -> dict[str, Option]:
        return self.entry.signature.options

    @property
    def slice_option(self) -> str | None:
        """The name of the option that holds layers which differ, if the part is a stack of layers."""
        return next((n for n, o in self.options.items() if o.type.text.split(" ")[0] == "Slices"), None)

    def value(self, name: str) -> Any:
        """A plain option's value, or what a socket holds that is no part."""
        return self.given[name].value if name in self.given else self.options[name].default

    def inherits(self, name: str) -> bool:
        """Whether the socket takes what stands above."""
        return name not in self.parts and name not in self.lists and self.value(name) == INHERIT

    def part(self, name: str) -> Node | None:
        """The part in a socket, the default's if nobody chose; None where there is none, or where it inherits."""
        if name in self.parts:
            return self.parts[name]
        value = self.value(name)
        if value is None or value in (INHERIT, REQUIRED):
            return None
        return of_literal(self.options[name].type.kind or "", value)

    def part_list(self, name: str) -> list[Node]:
        if name in self.lists:
            return self.lists[name][0]
        kind = self.options[name].type.kind or ""
        value = self.value(name)
        return [of_literal(kind, v) for v in ([] if value in (None, REQUIRED) else value)]

    def hold(self, name: str, child: Node) -> Node:
        """Put a part into a socket, in place of whatever was there."""
        self.forget(name)
        self.parts[name] = child
        return child

    def forget(self, name: str) -> None:
        for store in (self.given, self.parts, self.lists):
            store.pop(name, None)

    def spelled(self, where: str) -> dict[str, Any]:
        """{name, [preset], every option}: what rebuilds this part alone. UserError for a required option that nobody gave."""
        out: dict[str, Any] = {"name": self.entry.preset_of or self.name}
        if self.entry.preset_of:
            out["preset"] = self.name
        for name, option in self.options.items():
            path = f"{where}.{name}".lstrip(".")
            if name == self.slice_option and self.layers is not None:
                held = {w: {s: n.spelled(f"{path}.{w}.{s}") for s, n in sockets.items()} for w, sockets in self.layers.items()}
                out[name] = held or option.default
            elif option.type.many:
                out[name] = [n.spelled(f"{path}.{i}") for i, n in enumerate(self.part_list(name))]
            elif option.type.kind is not None and (part := self.part(name)) is not None:
                out[name] = part.spelled(path)
            else:
                out[name] = deepcopy(self.value(name))
                if out[name] == REQUIRED:
                    allowed = option.type.described() or f"a {option.type.kind}"
                    raise UserError(
                        path,
                        f"{self.entry.label} needs it",
                        f"give {path}={allowed}" + (f" ({option.doc})" if option.doc else ""),
                    )
        return out

    def origins(self, where: str) -> dict[str, str]:
        """{path: label of the station} of everything that somebody said, below and including this part."""
        out = {where: self.station.label}
        out.update({f"{where}.{n}".lstrip("."): g.station.label for n, g in self.given.items()})
        for name, child in self.parts.items():
            out.update(child.origins(f"{where}.{name}".lstrip(".")))
        for name, (children, station) in self.lists.items():
            out[f"{where}.{name}".lstrip(".")] = station.label
            for i, child in enumerate(children):
                out.update(child.origins(f"{where}.{name}.{i}".lstrip(".")))
        for which, sockets in (self.layers or {}).items():
            for socket, child in sockets.items():
                out.update(child.origins(f"{where}.{self.slice_option}.{which}.{socket}"))
        return out

    def lent(self) -> Node:
        """A copy for a slice: its values may be dropped there, since they were said about the whole."""
        copy = deepcopy(self)
        copy._mark()
        return copy

    def _mark(self) -> None:
        self.borrowed = True
        self.given = {n: replace(g, borrowed=True) for n, g in self.given.items()}
        for child in [*self.parts.values(), *(n for nodes, _ in self.lists.values() for n in nodes)]:
            child._mark()


def of_literal(kind: str, value: Any, where: str = "") -> Node:
    """The node of a default in a signature: a name, or a mapping with a name."""
    spec = {"name": value} if isinstance(value, str) else dict(value)
    node = Node(kind, registry.entry(kind, spec.get("preset") or spec["name"], where))
    for name, inner in spec.items():
        if name in ("name", "preset"):
            continue
        option = node.options[name]
        if option.type.kind is None or inner is None or inner == INHERIT:
            node.given[name] = Given(inner, DEFAULT)
        elif option.type.many:
            node.lists[name] = ([of_literal(option.type.kind, v) for v in inner], DEFAULT)
        else:
            node.parts[name] = of_literal(option.type.kind, inner)
    return node
