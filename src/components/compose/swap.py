"""What stays when a part is replaced: an option that somebody gave earlier, if the new part has it with that type and allows the value."""

from __future__ import annotations

from components.compose.node import Node
from components.compose.notes import Notes, show, show_node
from components.compose.sources import DEFAULT, ConfigSource, OptionValue
from components.core import registry
from components.core.config_types import Value
from components.core.errors import UserError, nearest
from components.core.registry import Entry
from components.core.signature import Option


def swap(old: Node, entry: Entry, source: ConfigSource, where: str, notes: Notes) -> Node:
    """The node of ``entry`` in place of ``old``. The same part again keeps everything."""
    if entry == old.entry:
        if old.source == DEFAULT:
            old.source = source
        return old
    new = Node(old.kind, entry, source)
    kept: list[str] = []
    dropped: list[tuple[str, str]] = []
    for name, given in old.given.items():
        if given.source == DEFAULT:
            continue
        why = why_incompatible(old, new, name, given)
        text = f"{name}={show(given.value)} ({given.source.label})"
        if why is None:
            new.given[name] = given
            kept.append(text)
        elif given.source >= source and not given.from_model:
            raise UserError(
                where, f"{name}={show(given.value)} was said before the part became {new.name}: {why}", f"say {new.name} first"
            )
        else:
            dropped.append((text, why))
    for name, child in old.parts.items():
        _carry_part(old, new, name, child, source, where, notes, kept, dropped)
    for name, (children, said_at) in old.lists.items():
        if said_at > DEFAULT:
            why = why_incompatible(old, new, name)
            text = f"{name}=[{', '.join(map(show_node, children))}] ({said_at.label})"
            if why is None:
                new.lists[name] = (children, said_at)
                kept.append(text)
            else:
                dropped.append((text, why))
    for name, edits in old.edits.items():
        why = why_incompatible(old, new, name)
        if why is None:
            new.edits[name] = edits
        else:
            dropped += [(f"{'.'.join((name, *e.path))} ({e.source.label})", why) for e in edits]
    if old.slices and new.slice_option:
        new.slices = old.slices
    elif old.slices:
        dropped += [
            (f"{old.slice_option}.{'.'.join(s.path)} ({s.source.label})", f"{new.name} has no layers to slice")
            for s in old.slices
        ]
    notes.swap(where, old.name, new.name, source, kept, dropped)
    return new


def _carry_part(
    old: Node,
    new: Node,
    name: str,
    child: Node,
    source: ConfigSource,
    where: str,
    notes: Notes,
    kept: list[str],
    dropped: list[tuple[str, str]],
) -> None:
    """A socket's part moves over if somebody chose it; if only its options were said, they try the new part's default."""
    origin = _origin(child)
    if origin is None:
        return
    why = why_incompatible(old, new, name)
    text = f"{name}={show_node(child)} ({origin.label})"
    if why is not None:
        dropped.append((text, why))
    elif child.source > DEFAULT:
        new.parts[name] = child
        kept.append(text)
    else:
        default = new.part(name)
        if default is None:
            dropped.append((text, f"{new.name} has no part of its own there"))
        elif default.entry == child.entry:
            new.parts[name] = child
            kept.append(text)
        else:
            moved = swap(child, default.entry, source, f"{where}.{name}", notes)
            moved.source = DEFAULT
            moved.given = {**{n: g for n, g in default.given.items() if n not in moved.parts}, **moved.given}
            moved.parts = {**{n: p for n, p in default.parts.items() if n not in moved.given}, **moved.parts}
            new.parts[name] = moved


def _origin(node: Node) -> ConfigSource | None:
    """The latest source that said anything about the node; None if nobody did."""
    said = [node.source, *(g.source for g in node.given.values()), *(s for _, s in node.lists.values())]
    said += [s for c in node.parts.values() if (s := _origin(c)) is not None]
    said += [e.source for edits in node.edits.values() for e in edits] + [s.source for s in node.slices]
    latest = max(said)
    return latest if latest > DEFAULT else None


def why_incompatible(old: Node, new: Node, name: str, given: OptionValue | None = None) -> str | None:
    """Why the option cannot stay with the new part, or None."""
    if name not in new.options:
        return f"{new.name} has no such option"
    if name in new.entry.sets:
        return f"{new.name} is about it and sets it"
    mine, theirs = old.options[name].type, new.options[name].type
    words = (
        mine.allowed and theirs.allowed and (mine.bases, mine.optional) == (theirs.bases, theirs.optional)
    )  # two closed lists
    if mine.text != theirs.text and not words:
        return f"{new.name} has it as {theirs.text}"
    if given is not None and given.value is None:
        return "null does not carry over"
    return theirs.fault(given.value) if given is not None else None


def unknown_option(node: Node, name: str, where: str, value: Value = None, root: Node | None = None) -> UserError:
    """No such option: the nearest, all of this part, and where a socket's part has one of that name.

    A socket that the part does not have is a choice of parts that cannot work together: both are named, and those that could.
    ``root``: of the whole tree, where an option of that name may be meant.
    """
    label = node.entry.label
    if name in registry.kinds():
        chosen = value.get("name") if isinstance(value, dict) else value
        both = f"{label} takes no {name}" + (f", so it cannot work with {name}/{chosen}" if isinstance(chosen, str) else "")
        able = [n for (_, n), e in registry.entries(node.kind).items() if name in e.signature.options]
        instead = f"{node.kind} parts that take one: {', '.join(able) or 'none'}; options of {label}: {', '.join(sorted(node.options)) or 'none'}"
        return UserError(f"{where}.{name}".lstrip("."), both, instead)
    instead = nearest(name, node.options, called=f"options of {label}")
    found = sorted(_paths_of(node, name, 3))
    if found:
        instead = f"did you mean {' or '.join(f'{where}.{p}'.lstrip('.') for p in found[:3])}? options of {label}: {', '.join(sorted(node.options))}"
    else:
        others = sorted(
            f"{where}.{s}={n}"
            for s, o in sockets_of(node).items()
            for (_, n), e in registry.entries(o.type.kind).items()
            if name in e.signature.options
        )
        others += (
            [f"{where}={n}" for (_, n), e in registry.entries(node.kind).items() if name in e.signature.options]
            if where
            else []
        )
        if others and not instead.startswith("did you mean"):
            instead = f"a part that has it: {', '.join(others[:3])}; {instead}"
        elif root is not None and not instead.startswith("did you mean") and (elsewhere := sorted(_paths_of(root, name, 4))):
            instead = f"did you mean {' or '.join(elsewhere[:3])}? {instead}"
    return UserError(f"{where}.{name}".lstrip("."), f"{label} has no option {name!r}", instead)


def _paths_of(node: Node, name: str, depth: int) -> list[str]:
    """Paths below ``node`` whose last word is ``name``: options of the parts in its sockets."""
    paths: list[str] = []
    for socket, option in sockets_of(node).items():
        child = None if option.type.many else node.part(socket)
        if child is None:
            continue
        if name in child.options:
            paths.append(f"{socket}.{name}")
        elif depth > 1:
            paths += [f"{socket}.{p}" for p in _paths_of(child, name, depth - 1)]
    return paths


def sockets_of(node: Node) -> dict[str, Option]:
    return node.entry.signature.sockets()
