"""Whether the chosen parts can work together, by what they declare themselves: needs, provides, refuses, lacks, carries_in, carries_out.

``needs = {"attention": ("rotates",)}``: the part of that kind in scope must provide the words; ``{"decoder.cross": ("memory",)}``: what the
layers of the part's socket ``decoder`` have as ``cross``; ``{"cross": ("memory|absent",)}``: the part's own socket ``cross``, one of the words.
``refuses = {"attention": ("cacheable",)}``: no chosen part of that kind may lack them. ``carries_in = ("values",)``: an earlier layer must write what a layer reads.
``passes_on = {"mixers": ("rotates",)}``: it provides those of these words that a part in its list ``mixers`` provides.
``carries_out = ("values",)`` of a part that stands in no layer (one in a layer may be read by the same part in a later one): some part must read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.compose.node import Node
from components.compose.reading import layer_by_layer
from components.core import registry
from components.core.errors import UserError


def check(tree: Node, *, whole: bool = True) -> None:
    """UserError for the first two parts that cannot work together, with both paths, the reason, and the parts that would do.

    ``whole``: the tree is all of a run; else what is not in it may be somebody's own.
    """
    found = list(layer_by_layer(tree))
    for part in found:
        for kind, words in _rules(part, "needs"):
            _needs(part, kind, words, found, whole)
        for kind, words in _rules(part, "refuses"):
            for other in found:
                lacking = [w for w in words if w in _declared(other, "lacks")] if other.kind == kind else []
                if lacking:
                    able = [
                        n
                        for (_, n), e in registry.entries(kind).items()
                        if not set(words) & set(e.signature.declared.get("lacks", ()))
                    ]
                    raise UserError(
                        part.path,
                        f"{part.label} cannot work with {other.label} at {other.path}: it is not {' and '.join(lacking)}",
                        f"{kind} parts that are: {', '.join(able) or 'none'}",
                    )
    _carried(found)
    _unread(found, whole)


def _declared(part: Node, what: str) -> list[str]:
    """The words of a declaration such as ``provides``; of none an empty list."""
    words = part.entry.signature.declared.get(what) or ()
    return [words] if isinstance(words, str) else list(words)


def _provided(part: Node) -> list[str]:
    """What it provides itself, and what it passes on of the parts that it holds."""
    held = [(words, [w for p in part.members.get(name, ()) for w in _provided(p)]) for name, words in _rules(part, "passes_on")]
    return [*_declared(part, "provides"), *(w for words, there in held for w in there if w in words)]


def _in_scope(part: Node, kind: str) -> list[Node]:
    """The nearest part of a kind: around this one, or in a socket of what is around it."""
    for scope in part.scopes():
        if scope.kind == kind:
            return [scope]
        named = scope.sockets.get(kind)
        found = [named] if named else [p for p in scope.sockets.values() if p.kind == kind and p is not part]
        if found and found != [part]:
            return found
    return []


def _rules(part: Node, what: str) -> Iterator[tuple[str, Sequence[str]]]:
    for kind, words in (part.entry.signature.declared.get(what) or {}).items():
        yield kind, [words] if isinstance(words, str) else list(words)


def _needs(part: Node, kind: str, words: Sequence[str], found: list[Node], whole: bool) -> None:
    if "." in kind:
        others = _in_socket(part, kind, found)
        if not others:
            return
        kind = called = others[0].kind
    elif kind in part.sockets:
        others, called = [part.sockets[kind]], kind
        kind = others[0].kind
    elif kind not in registry.kinds() and kind in part.entry.signature.sockets():
        return  # its socket inherits: what stands there answers where it stands
    else:
        # a part inside another of its kind answers to that one alone
        others = _in_scope(part, kind) or [p for p in found if p.kind == kind and all(a.kind != kind for a in p.scopes())]
        if not others and (_is_alone(part) or not whole):
            return  # a model alone: the run around it is not chosen yet
        called = kind
    able = [n for (_, n), e in registry.entries(kind).items() if not _missing(words, e.signature.declared.get("provides", ()))]
    instead = f"{kind} parts that provide it: {', '.join(able) or 'none'}"
    if not others:
        raise UserError(
            part.path,
            f"{part.label} needs a part of kind {kind} that provides {' and '.join(words)}, and there is none here",
            instead,
        )
    for other in others:
        if missing := _missing(words, _provided(other)):
            said = ", ".join(w.replace("|", " or ") for w in missing)
            raise UserError(
                part.path,
                f"{part.label} needs {said} of its {called}, and {other.label} at {other.path} does not provide it",
                instead,
            )


def _is_alone(part: Node) -> bool:
    """Whether nothing else of the run is chosen."""
    *_, root = part.scopes()
    return len(root.sockets) == 1


def _missing(words: Sequence[str], provided: Sequence[str]) -> list[str]:
    """The words of which nothing is provided; ``a|b`` asks for one of them."""
    return [w for w in words if not set(w.split("|")) & set(provided)]


def _in_socket(part: Node, sockets: str, found: list[Node]) -> list[Node]:
    """What the layers of one side have in a socket: ``decoder.cross`` for the side ``decoder`` of ``part``."""
    side, socket = sockets.split(".")
    return [p for p in found if p.stack == f"{part.path}.{side}" and p.above and p.above.sockets.get(socket) is p]


def _carried(found: list[Node]) -> None:
    """A layer that reads what no earlier layer, nor the part itself, writes."""
    for part in found:
        for word in _declared(part, "carries_in"):
            if part.layer is None or word in _declared(part, "carries_out"):
                continue
            writers = [p for p in found if word in _declared(p, "carries_out")]
            if any(p.layer is None or (p.stack == part.stack and p.layer < part.layer) for p in writers):
                continue
            able = [
                f"{k}/{n}" for (k, n), e in registry.entries().items() if word in e.signature.declared.get("carries_out", ())
            ]
            raise UserError(
                part.path,
                f"{part.label} in layer {part.layer} reads {word!r}, and no earlier layer writes it",
                f"parts that write it: {', '.join(able) or 'none'}",
            )


def _unread(found: list[Node], whole: bool) -> None:
    """A part of a model that writes for another, and there is none: a swap that does nothing, and weights without a gradient."""
    read = {word for part in found for word in _declared(part, "carries_in")}
    dead = [(p, word) for p in found if p.layer is None for word in _declared(p, "carries_out") if word not in read]
    if dead:
        chosen = {part.kind for part in found} | {
            o.type.kind for part in found for o in part.entry.signature.sockets().values()
        }
        entries = registry.entries().values()
        inside = {o.type.kind for e in entries for o in e.signature.sockets().values() if o.type.kind != e.kind}
        for part, word in dead:
            able = [e for e in entries if word in e.signature.declared.get("carries_in", ())]
            beside = any(e.kind not in inside for e in able)  # what reads it stands beside the model
            if not any(e.kind in chosen for e in able) and (beside or _is_alone(part) or not whole):
                continue  # a part or a model alone: what would read it is not chosen yet
            raise UserError(
                part.path,
                f"{part.label} writes {word!r}, and no part reads it: weights of it would never learn",
                f"parts that read it: {', '.join(e.label for e in able) or 'none'}",
            )
