"""Apply what was said to the tree of parts: a name replaces a part, an option edits it, choices before options within a station."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from components.compose.grammar import TARGET, refuse_targets
from components.compose.lists import place, read_list
from components.compose.node import Node
from components.compose.notes import Notes, show, show_node
from components.compose.stations import Given, Said
from components.compose.swap import swap, unknown_option
from components.core import registry
from components.core.config_types import part_name
from components.core.errors import UserError
from components.core.inheriting import INHERIT


@dataclass
class Tree:
    """The tree from its root, and the notes of what swaps kept and dropped."""

    root: Node
    notes: Notes

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around each thing that is applied: a tree of what is still being typed leaves out what does not fit."""
        yield

    def apply(self, said: Iterable[Said]) -> None:
        """Everything that one station says. The shorter path comes first, so a part is chosen before its options are set."""
        heap: list[tuple[int, int, int, Said]] = []
        said = list(said)
        self.notes.ahead = {".".join((*s.path, *inner)) for s in said for inner in _leaves(s.value)}
        for s in said:
            heapq.heappush(heap, (len(s.path), s.order, len(heap), s))
        count = len(heap)
        while heap:
            *_, s = heapq.heappop(heap)
            with self.attempt():
                for more in self.put(self.root, s, ""):
                    heapq.heappush(heap, (len(more.path), more.order, count := count + 1, more))

    def put_all(self, node: Node, said: Said, where: str) -> None:
        """One override with all that its mapping holds, at once: for slices, whose written order decides."""
        for inner in self.put(node, said, where):
            self.put_all(node, inner, where)

    def put(self, node: Node, said: Said, where: str, *, lenient: bool = False) -> list[Said]:
        """Apply one override below ``node``. What its mapping still has to say comes back, to be applied in its turn.

        ``lenient``: the part has changed at a later station than this override's; what no longer fits is dropped with a note.
        """
        lenient = lenient or said.station < node.station
        try:
            return self._put(node, said, where, lenient)
        except UserError as e:
            if not lenient:
                raise
            path = ".".join(filter(None, (where, *said.path)))
            self.notes.add(f"{path}: dropped what {said.station.label} says: {e.what}")
            return []

    def _put(self, node: Node, said: Said, where: str, lenient: bool) -> list[Said]:
        head, rest = said.path[0], said.path[1:]
        head = node.entry.renamed.get(head, head)
        path = f"{where}.{head}".lstrip(".")
        if head == TARGET:
            refuse_targets({TARGET: said.value if said.text is None else said.text}, where or "config")
        if head not in node.options:
            raise unknown_option(node, head, where, said.read(), self.root)
        option = node.options[head]
        if option.type.slices_layers:
            self._slice(node, replace(said, path=rest), path)
        elif option.type.many:
            self._list(node, head, replace(said, path=rest), path, lenient)
        elif option.type.kind is None:
            self._set(node, head, said, rest, path)
        elif node.inherits(head):
            return self._edit(node, head, said, rest, path)
        elif rest:
            child = node.part(head)
            if child is None:
                kind = option.type.kind
                raise UserError(
                    path,
                    f"there is no part here ({show(node.value(head))})",
                    f"choose one first, {path}=...; {kind} parts: {', '.join(registry.names(kind))}",
                )
            node.parts.setdefault(head, child)
            return [
                replace(m, path=(head, *m.path))
                for m in self.put(node.parts[head], replace(said, path=rest), path, lenient=lenient)
            ]
        else:
            return [replace(m, path=(head, *m.path)) for m in self._choose(node, head, said, path)]
        return []

    def _list(self, node: Node, head: str, said: Said, path: str, lenient: bool) -> None:
        """A socket of several parts: written whole, or edited part by part."""
        if said.path:
            children = node.part_list(head)
            index = place(said.path[0], children, path)
            self._edit_in_list(children[index], replace(said, path=said.path[1:]), path, index, lenient)
            node.forget(head)
            node.lists[head] = (children, said.station)
            return
        option, value = node.options[head], said.read()
        refuse_targets(value, path)
        if value is None and option.type.optional:
            node.forget(head)
            node.given[head] = Given(None, said.station)
            return
        children = []
        for i, (child, overrides) in enumerate(read_list(option.type.kind or "", value, said, path)):
            for inner in overrides:
                self.put_all(child, inner, f"{path}.{i}")
            children.append(child)
        if said.spelled and [c.spelled() for c in children] == [c.spelled() for c in node.part_list(head)]:
            return
        node.forget(head)
        node.lists[head] = (children, said.station)

    def _edit_in_list(self, node: Node, said: Said, path: str, index: int, lenient: bool) -> None:
        where = f"{path}.{index}"
        if not said.path:
            raise UserError(where, "a part of a list is edited option by option", f"or write the whole list, {path}=[...]")
        for inner in self.put(node, said, where, lenient=lenient):
            self.put_all(node, inner, where)

    def _set(self, node: Node, head: str, said: Said, rest: tuple[str, ...], path: str) -> None:
        option = node.options[head]
        if rest and "dict" not in option.type.bases:
            raise UserError(
                f"{path}.{'.'.join(rest)}",
                f"{path} is {option.type.described() or option.type.text}, not a part: nothing stands below it",
            )
        value = said.read(option, path)
        refuse_targets(value, path)
        if rest:
            held = dict(node.value(head) or {})
            held[".".join(rest)] = value
            value = held
        value = option.type.cast(value)
        fault = option.type.fault(value)
        if fault:
            raise UserError(path, fault)
        if not (said.spelled and value == node.value(head)):
            node.given[head] = Given(value, said.station)

    def _edit(self, node: Node, head: str, said: Said, rest: tuple[str, ...], path: str) -> list[Said]:
        """On a socket that inherits: kept until it is known what it inherits."""
        if not rest:
            value = said.read()
            if value == INHERIT:
                node.edits.pop(head, None)
                return []
            self._check_choice(node, head, value, path)
        node.edits.setdefault(head, []).append(replace(said, path=rest))
        return []

    def _check_choice(self, node: Node, head: str, value: Any, path: str) -> None:
        kind = node.options[head].type.kind or ""
        refuse_targets(value, path)
        if value == INHERIT:
            return
        if isinstance(value, str) or (isinstance(value, dict) and "name" in value):
            name = value if isinstance(value, str) else part_name(value)
            registry.entry(kind, name if isinstance(name, str) else show(name), path)
        elif not isinstance(value, dict) and not (value is None and node.options[head].type.optional):
            none = f"{path}=none is the part that does nothing; " if "none" in registry.names(kind) and value is None else ""
            raise UserError(path, f"{show(value)} is no {kind}", f"{none}{kind} parts: {', '.join(registry.names(kind))}")

    def _choose(self, node: Node, head: str, said: Said, path: str) -> list[Said]:
        """Fill a socket. What a mapping says about options comes back as overrides below the new part."""
        value = said.read()
        self._check_choice(node, head, value, path)
        if value is None or value == INHERIT:
            old = node.part(head)
            node.forget(head)
            if old is not None and old.given:
                self.notes.swap(
                    path, show_node(old), show(value), said.station, [], [(show_node(old), "the socket holds no part now")]
                )
            node.given[head] = Given(value, said.station)
            return []
        spec = {"name": value} if isinstance(value, str) else dict(value)
        if "name" in spec:
            self.notes.ahead |= {f"{path}.{'.'.join(inner)}" for inner in _leaves(spec)}
            self.choose(node, head, str(part_name(spec)), said, path)
        return [replace(said, path=(k,), value=v, text=None) for k, v in spec.items() if k not in ("name", "preset")]

    def choose(self, node: Node, head: str, name: str, said: Said, path: str) -> Node:
        """Put the part ``name`` into a socket; what was said about the old one carries over as far as it fits."""
        kind = node.options[head].type.kind or ""
        entry = registry.entry(kind, name, path)
        old = node.part(head)
        if old is None:
            new = Node(kind, entry, said.station)
        elif said.spelled and entry == old.entry:
            new = old
        else:
            new = swap(old, entry, said.station, path, self.notes)
        node.hold(head, new)
        for edit in node.edits.pop(head, []):
            if edit.path:
                self.put(new, edit, path, lenient=True)
        return new

    def _slice(self, node: Node, said: Said, path: str) -> None:
        """Kept until the depth and what the layers have are known; written order then decides."""
        if len(said.path) >= 2:
            node.slices.append(replace(said, spelled=False))
            return
        value = said.read()
        refuse_targets(value, path)
        if value is None and not said.path:
            node.slices.clear()
        elif isinstance(value, dict):
            for key, inner in value.items():
                self._slice(node, said.under(str(key), inner), path)
        else:
            raise UserError(
                ".".join((path, *said.path)),
                f"{show(value)} does not say which socket of which layers",
                f"write {path}.last.<socket>=...",
            )


def _leaves(value: Any) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [()]
    return [(str(k), *inner) for k, v in value.items() for inner in _leaves(v)]
