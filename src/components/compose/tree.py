"""Apply overrides to the tree of parts: a name replaces a part, an option edits it. Within a source, parts are chosen before options are set."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from components.compose.grammar import TARGET, refuse_targets
from components.compose.lists import index_of, read_list
from components.compose.node import Node
from components.compose.notes import Notes, show, show_node
from components.compose.python_values import named
from components.compose.sources import OptionValue, Override
from components.compose.swap import swap, unknown_option
from components.core import registry
from components.core.config_types import Config, Value, part_name
from components.core.errors import Mistyped, UserError
from components.core.inheriting import INHERIT


@dataclass
class Tree:
    """The tree from its root, and notes about what swaps kept and dropped."""

    root: Node
    notes: Notes

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Surrounds each override that is applied. The tree of a line that is still being typed leaves out what does not fit."""
        yield

    def apply_source(self, overrides: Iterable[Override]) -> None:
        """Apply everything that one source says. Shorter paths go first, so a part is chosen before its options are set."""
        heap: list[tuple[int, int, int, Override]] = []
        overrides = list(overrides)
        self.notes.pending = {".".join((*s.path, *inner)) for s in overrides for inner in _leaves(s.value)}
        for s in overrides:
            heapq.heappush(heap, (len(s.path), s.order, len(heap), s))
        count = len(heap)
        while heap:
            *_, s = heapq.heappop(heap)
            with self.attempt():
                for more in self.apply(self.root, s, ""):
                    heapq.heappush(heap, (len(more.path), more.order, count := count + 1, more))

    def apply_all(self, node: Node, override: Override, where: str) -> None:
        """Apply an override with everything that its mapping holds, at once: for slices, where the written order decides."""
        for inner in self.apply(node, override, where):
            self.apply_all(node, inner, where)

    def apply(self, node: Node, override: Override, where: str, *, drop_if_unfit: bool = False) -> list[Override]:
        """Apply one override below ``node``. The entries of its mapping come back as overrides, to be applied in their turn.

        ``drop_if_unfit``: a later source than this override's has changed the part; an override that no longer fits is dropped with a note.
        """
        drop_if_unfit = drop_if_unfit or override.source < node.source
        try:
            return self._apply(node, override, where, drop_if_unfit)
        except UserError as e:
            if not drop_if_unfit:
                raise
            path = ".".join(filter(None, (where, *override.path)))
            self.notes.add(f"{path}: dropped what {override.source.label} says: {e.what}")
            return []

    def _apply(self, node: Node, override: Override, where: str, drop_if_unfit: bool) -> list[Override]:
        head, rest = override.path[0], override.path[1:]
        head = node.entry.renamed.get(head, head)
        path = f"{where}.{head}".lstrip(".")
        if head == TARGET:
            refuse_targets({TARGET: override.value if override.text is None else override.text}, where or "config")
        if head not in node.options:
            raise unknown_option(node, head, where, override.read(), self.root)
        option = node.options[head]
        if option.type.slices_layers:
            self._slice(node, replace(override, path=rest), path)
        elif option.type.many:
            self._list(node, head, replace(override, path=rest), path, drop_if_unfit)
        elif option.type.kind is None:
            self._set(node, head, override, rest, path)
        elif node.inherits(head):
            return self._edit(node, head, override, rest, path)
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
                for m in self.apply(node.parts[head], replace(override, path=rest), path, drop_if_unfit=drop_if_unfit)
            ]
        else:
            return [replace(m, path=(head, *m.path)) for m in self._fill(node, head, override, path)]
        return []

    def _list(self, node: Node, head: str, override: Override, path: str, drop_if_unfit: bool) -> None:
        """A socket that holds several parts: written whole, or edited part by part."""
        if override.path:
            children = node.part_list(head)
            index = index_of(override.path[0], children, path)
            self._edit_in_list(children[index], replace(override, path=override.path[1:]), path, index, drop_if_unfit)
            node.forget(head)
            node.lists[head] = (children, override.source)
            return
        option, value = node.options[head], override.read()
        refuse_targets(value, path)
        if value is None and option.type.optional:
            node.forget(head)
            node.given[head] = OptionValue(None, override.source)
            return
        children = []
        for i, (child, overrides) in enumerate(read_list(option.type.kind or "", value, override, path)):
            for inner in overrides:
                self.apply_all(child, inner, f"{path}.{i}")
            children.append(child)
        if override.spelled and [c.spelled() for c in children] == [c.spelled() for c in node.part_list(head)]:
            return
        node.forget(head)
        node.lists[head] = (children, override.source)

    def _edit_in_list(self, node: Node, override: Override, path: str, index: int, drop_if_unfit: bool) -> None:
        where = f"{path}.{index}"
        if not override.path:
            raise UserError(where, "a part of a list is edited option by option", f"or write the whole list, {path}=[...]")
        for inner in self.apply(node, override, where, drop_if_unfit=drop_if_unfit):
            self.apply_all(node, inner, where)

    def _set(self, node: Node, head: str, override: Override, rest: tuple[str, ...], path: str) -> None:
        option = node.options[head]
        if rest and "dict" not in option.type.bases:
            raise UserError(
                f"{path}.{'.'.join(rest)}",
                f"{path} is {option.type.described() or option.type.text}, not a part: nothing stands below it",
            )
        value = override.read(option, path)
        refuse_targets(value, path)
        if rest:
            old = node.value(head)
            held = {**old} if isinstance(old, dict) else {}
            held[".".join(rest)] = value
            value = held
        value = option.type.cast(value)
        fault = option.type.fault(value)
        if fault:
            raise Mistyped(path, fault)
        if not (override.spelled and value == node.value(head)):
            node.given[head] = OptionValue(value, override.source)

    def _edit(self, node: Node, head: str, override: Override, rest: tuple[str, ...], path: str) -> list[Override]:
        """Edit a socket that inherits: the edit is kept until it is known what the socket inherits."""
        if not rest:
            value = named(node.options[head].type.kind or "", override.read(), path)
            override = replace(override, value=value, text=None) if override.text is None else override
            if value == INHERIT:
                node.edits.pop(head, None)
                return []
            self._check_choice(node, head, value, path)
        node.edits.setdefault(head, []).append(replace(override, path=rest))
        return []

    def _check_choice(self, node: Node, head: str, value: Value, path: str) -> None:
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

    def _fill(self, node: Node, head: str, override: Override, path: str) -> list[Override]:
        """Fill a socket. The options in a mapping come back as overrides below the new part."""
        value = named(node.options[head].type.kind or "", override.read(), path)
        self._check_choice(node, head, value, path)
        if value is None or value == INHERIT:
            old = node.part(head)
            node.forget(head)
            if old is not None and old.given:
                self.notes.swap(
                    path, show_node(old), show(value), override.source, [], [(show_node(old), "the socket holds no part now")]
                )
            node.given[head] = OptionValue(value, override.source)
            return []
        spec: Config = {"name": value} if isinstance(value, str) else {**value} if isinstance(value, dict) else {}
        if "name" in spec:
            self.notes.pending |= {f"{path}.{'.'.join(inner)}" for inner in _leaves(spec)}
            self.select(node, head, str(part_name(spec)), override, path)
        return [replace(override, path=(k,), value=v, text=None) for k, v in spec.items() if k not in ("name", "preset")]

    def select(self, node: Node, head: str, name: str, override: Override, path: str) -> Node:
        """Put the part ``name`` into a socket. What was said about the old part carries over as far as it fits."""
        kind = node.options[head].type.kind or ""
        entry = registry.entry(kind, name, path)
        old = node.part(head)
        if old is None:
            new = Node(kind, entry, override.source)
        elif override.spelled and entry == old.entry:
            new = old
        else:
            new = swap(old, entry, override.source, path, self.notes)
        node.hold(head, new)
        for edit in node.edits.pop(head, []):
            if edit.path:
                self.apply(new, edit, path, drop_if_unfit=True)
        return new

    def _slice(self, node: Node, override: Override, path: str) -> None:
        """Keep an override of layers until their number and their parts are known. The written order then decides."""
        if len(override.path) >= 2:
            node.slices.append(replace(override, spelled=False))
            return
        value = override.read()
        refuse_targets(value, path)
        if value is None and not override.path:
            node.slices.clear()
        elif isinstance(value, dict):
            for key, inner in value.items():
                self._slice(node, override.under(str(key), inner), path)
        else:
            raise UserError(
                ".".join((path, *override.path)),
                f"{show(value)} does not say which socket of which layers",
                f"write {path}.last.<socket>=...",
            )


def _leaves(value: Value) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [()]
    return [(str(k), *inner) for k, v in value.items() for inner in _leaves(v)]
