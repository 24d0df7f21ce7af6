"""The tree of parts: each knows what was said about its options and where, and once it is resolved what stands around it.

What nobody said is read from the signature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

from components.compose.python_makers import described
from components.compose.sources import DEFAULT, ConfigSource, OptionValue, Override
from components.core import registry
from components.core.config_types import Config, Value, part_name
from components.core.errors import UserError
from components.core.inheriting import INHERIT, inherited
from components.core.registry import Entry
from components.core.signature import REQUIRED, Option


@dataclass(eq=False)
class Node:
    """One part in the tree. ``source``: where this part was last chosen, DEFAULT if nobody did.

    A socket's state is one of: a Node in ``parts``, a list in ``lists``, a Given (``inherit`` or null), or the signature's default.
    The fields from ``path`` on are known once ``layers.resolve_inheritance`` has resolved the tree.
    """

    kind: str
    entry: Entry
    source: ConfigSource = DEFAULT
    from_model: bool = False
    given: dict[str, OptionValue] = field(default_factory=dict)
    parts: dict[str, Node] = field(default_factory=dict)
    lists: dict[str, tuple[list[Node], ConfigSource]] = field(default_factory=dict)
    edits: dict[str, list[Override]] = field(default_factory=dict)  # on a socket that inherits: applied when all else is known
    slices: list[Override] = field(default_factory=list)  # on layers: likewise; paths start at <which>
    layers: dict[str, dict[str, Node]] | None = None  # what came of the slices
    path: str = ""
    above: Node | None = field(default=None, repr=False)
    layer: int | None = None  # the layer of the stack at the path ``stack`` in which this part stands
    stack: str = ""
    sockets: dict[str, Node] = field(default_factory=dict, repr=False)  # what stands in each, defaults too
    members: dict[str, list[Node]] = field(default_factory=dict, repr=False)  # likewise of sockets that hold several
    was: Node | None = field(default=None, repr=False)  # what the recipe alone has in this place

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def label(self) -> str:
        return self.entry.label

    @property
    def options(self) -> dict[str, Option]:
        return self.entry.signature.options

    @property
    def slice_option(self) -> str | None:
        """The name of the option that holds layers which differ, if the part is a stack of layers."""
        return next((n for n, o in self.options.items() if o.type.slices_layers), None)

    def value(self, name: str) -> Value:
        """A plain option's value, or what a socket holds that is no part."""
        return self.given[name].value if name in self.given else self.options[name].default

    def inherits(self, name: str) -> bool:
        """Whether the socket takes what stands above."""
        return name not in self.parts and name not in self.lists and self.value(name) == INHERIT

    def part(self, name: str) -> Node | None:
        """The part in a socket, the default's if nobody chose; None where there is none, or where it inherits."""
        if name in self.parts:
            return self.parts[name]
        if name in self.sockets:
            return self.sockets[name]
        value = self.value(name)
        if value is None or value in (INHERIT, REQUIRED):
            return None
        return of_literal(self.options[name].type.kind or "", value)

    def part_list(self, name: str) -> list[Node]:
        if name in self.lists:
            return self.lists[name][0]
        if name in self.members:
            return self.members[name]
        kind = self.options[name].type.kind or ""
        value = self.value(name)
        return [of_literal(kind, v) for v in (value if isinstance(value, (list, tuple)) else ())]

    def hold(self, name: str, child: Node) -> Node:
        """Put a part into a socket, in place of whatever was there."""
        self.forget(name)
        self.parts[name] = child
        return child

    def forget(self, name: str) -> None:
        for store in (self.given, self.parts, self.lists, self.sockets, self.members):
            store.pop(name, None)

    def scopes(self) -> Iterator[Node]:
        """The parts around this one, nearest first, up to the run."""
        scope = self.above
        while scope is not None:
            yield scope
            scope = scope.above

    def inherited(self, name: str) -> Node | None:
        """The part that an inheriting socket takes, by the rule that ``makers.make`` follows too. None if nothing above has one."""
        kind = self.options[name].type.kind or ""

        def held(scope: Node, socket: str) -> Node | None:
            return scope.inherited(socket) if scope.inherits(socket) else scope.part(socket)

        def fits(scope: Node, socket: str) -> bool:
            option = scope.options.get(socket)
            return option is not None and option.type.kind == kind and not option.type.many

        def above(socket: str) -> Node | None:
            return next((held(scope, socket) for scope in self.scopes() if fits(scope, socket)), None)

        return inherited(name, kind, lambda socket: held(self, socket) if fits(self, socket) else None, above)

    def size(self, name: str) -> Value:
        """An option of the stack, or of the nearest part above that has it set, where its own is null (the sides of an encoder-decoder)."""
        for scope in (self, *self.scopes()):
            if name in scope.options and (value := scope.value(name)) not in (None, INHERIT, [], ()):
                return value
        return None

    def pattern(self) -> list[str]:
        """The names that the layers have in turn, of the stack or of what stands above it; empty without a pattern."""
        names = self.size("pattern")
        return [str(name) for name in names] if isinstance(names, (list, tuple)) else []

    def layer_sockets(self) -> list[str]:
        """The sockets that each layer of a stack has: what it declares as ``per_layer``, else all of them."""
        sockets = [n for n, o in self.entry.signature.sockets().items() if not o.type.many]
        declared = self.entry.signature.declared.get("per_layer")
        return sockets if declared is None else [s for s in sockets if s in declared]

    def spelled(self) -> Config:
        """{name, [preset], every option}: what rebuilds this part alone. UserError for a required option that nobody gave."""
        out: Config = {"name": self.entry.preset_of or self.name}
        if self.entry.preset_of:
            out["preset"] = self.name
        for name, option in self.options.items():
            if option.type.slices_layers and self.layers is not None:
                held = {which: {s: part.spelled() for s, part in sockets.items()} for which, sockets in self.layers.items()}
                out[name] = held or option.default
            elif option.type.many:
                out[name] = [part.spelled() for part in self.part_list(name)]
            elif option.type.kind is not None and (part := self.part(name)) is not None:
                out[name] = part.spelled()
            else:
                out[name] = deepcopy(self.value(name))
                if out[name] == REQUIRED:
                    path = self.below(name)
                    said = f"give {path}={option.type.described() or f'a {option.type.kind}'}"
                    raise UserError(path, f"{self.label} needs it", said + f": {option.doc.rstrip('.')}" * bool(option.doc))
        return out

    def text(self) -> str:
        """All that the part and those below it have, as one text: the same for parts that are alike."""
        return json.dumps(self.spelled(), sort_keys=True)

    def below(self, name: str) -> str:
        """The path of an option or a socket."""
        return f"{self.path}.{name}".lstrip(".")

    def origins(self) -> dict[str, str]:
        """{path: label of the source} of everything that somebody said, below and including this part."""
        out = {self.path: self.source.label, **{self.below(n): g.source.label for n, g in self.given.items()}}
        for child in self.parts.values():
            out |= child.origins()
        for name, (children, source) in self.lists.items():
            out[self.below(name)] = source.label
            for child in children:
                out |= child.origins()
        for sockets in (self.layers or {}).values():
            for child in sockets.values():
                out |= child.origins()
        return out

    def copy(self) -> Node:
        """The part and all below it as they were said, to be changed or resolved apart. Where it stands is not copied."""
        return Node(
            self.kind,
            self.entry,
            self.source,
            self.from_model,
            dict(self.given),
            {n: child.copy() for n, child in self.parts.items()},
            {n: ([child.copy() for child in children], said_at) for n, (children, said_at) in self.lists.items()},
            {n: list(edits) for n, edits in self.edits.items()},
            list(self.slices),
            self.layers and {w: {s: child.copy() for s, child in held.items()} for w, held in self.layers.items()},
        )

    def copied_from_model(self) -> Node:
        """A copy for a slice: its values may be dropped there, since they were said about the whole."""
        copy = self.copy()
        copy._mark()
        return copy

    def _mark(self) -> None:
        self.from_model = True
        self.given = {n: replace(g, from_model=True) for n, g in self.given.items()}
        for child in [*self.parts.values(), *(n for nodes, _ in self.lists.values() for n in nodes)]:
            child._mark()


def of_literal(kind: str, value: object, where: str = "") -> Node:
    """The node of a name, of a mapping with a name (a signature's default, a spelled-out config), or of a maker that names one in Python.

    A socket that holds a maker of which nothing is known counts as one that inherits; in a list it is left out.
    """
    spec = described(kind, value)
    node = Node(kind, registry.entry(kind, part_name(spec), where))
    for name, inner in spec.items():
        if name in ("name", "preset"):
            continue
        name = node.entry.renamed.get(name, name)
        option = node.options.get(name)
        if option is not None and option.type.slices_layers and inner:
            node.layers = {str(w): _layer(node, sockets) for w, sockets in inner.items()}
        elif option is None or option.type.kind is None or inner is None:
            node.given[name] = OptionValue(inner, DEFAULT)
        elif option.type.many:
            children = [of_literal(option.type.kind, v) for v in inner if _is_known(option.type.kind, v)]
            node.lists[name] = (children, DEFAULT)
        elif _is_known(option.type.kind, inner):
            node.parts[name] = of_literal(option.type.kind, inner)
        else:
            node.given[name] = OptionValue(INHERIT, DEFAULT)
    return node


def _layer(node: Node, sockets: Mapping[str, object]) -> dict[str, Node]:
    """What one slice of layers has in its sockets."""
    kinds = {name: node.options[name].type.kind or "" for name in sockets}
    return {name: of_literal(kinds[name], v) for name, v in sockets.items() if _is_known(kinds[name], v)}


def _is_known(kind: str, maker: object) -> bool:
    return bool(described(kind, maker))
