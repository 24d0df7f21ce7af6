"""The model as composed: every part inside the one that made it, with its options, parameters, FLOPs and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from components.core.flops import Work, flops_of
from components.core.parts_tree import Owner, parts_tree
from components.core.registry import Entry
from components.core.sockets import Layer
from components.explain.recorder import Recorder
from components.explain.subject import Made, Subject
from components.explain.trace import Matrix, OptionValue, PartNode
from components.functional.quantised_tensor import bytes_of


@dataclass
class Loose:
    """The parameters of modules that are no parts. They count for the part around these."""

    parameters: int = 0
    bytes: int = 0
    matrices: list[Matrix] = field(default_factory=list)


def drawing(subject: Subject, recorder: Recorder, work: dict[str, Work]) -> PartNode:
    """The root of the tree, children in the order in which they were called.

    Args:
        subject: the model and how its parts were made.
        recorder: of a forward pass.
        work: for FLOPs, {path of a side's stack, "" for the whole: what it worked on}.
    """
    (root,), _ = _Drawing(subject, recorder, work).nodes(parts_tree(subject.model))
    return root


class _Drawing:
    """The tree of one model."""

    def __init__(self, subject: Subject, recorder: Recorder, work: dict[str, Work]) -> None:
        self.subject, self.recorder, self.work = subject, recorder, work

    def nodes(self, owner: Owner) -> tuple[list[PartNode], Loose]:
        """A part as one node. Of any other module the nodes in it, and the parameters that belong to the part around it."""
        module, path, own = owner.module, owner.path, owner.own
        entry = self.recorder.entries.get(path)  # a module that stands in two places is a part in the first
        children: list[PartNode] = []
        inner = Loose()
        for child in owner.children:
            nodes, loose = self.nodes(child)
            children += nodes
            inner = Loose(inner.parameters + loose.parameters, inner.bytes + loose.bytes, inner.matrices + loose.matrices)
        parameters = inner.parameters + owner.loose
        size = inner.bytes + sum(bytes_of(p) for p in own.values())
        if entry is None and not isinstance(module, Layer) and path and not self.recorder.kind_at(path):
            called = [Matrix(path if p.dim() > 1 or len(own) == 1 else f"{path}.bias", list(p.shape)) for p in own.values()]
            return children, Loose(parameters, size, inner.matrices + called)
        matrices = [Matrix(n, list(p.shape)) for n, p in own.items()]
        matrices += [Matrix(m.name.removeprefix(f"{path}."), m.shape) for m in inner.matrices]
        label, kind, sentence, options = described(module, entry, self.subject.made.get(id(module)))
        node = PartNode(
            name=owner.name or "model",
            path=path,
            parameters=parameters + sum(c.parameters * c.times for c in children),
            bytes=size + sum(c.bytes * c.times for c in children),
            times=1,
            paths=[path],
            matrices=matrices,
            children=folded(sorted(children, key=lambda c: c.called)),
            called=self.recorder.order.get(path, -1),
            out_bytes=self.recorder.bytes.get(path, 0),
            shape=self.recorder.shapes.get(path),
            flops=_flops(module, path, self.work),
            label=label,
            kind=kind,
            sentence=sentence,
            options=options,
        )
        return [node], Loose()


def described(module: nn.Module, entry: Entry | None, made: Made | None) -> tuple[str, str, str, list[OptionValue]]:
    """(label, kind, sentence, options) of a part."""
    if isinstance(module, Layer):
        return "layer", "layer", "A block and its place in depth.", []
    if entry is None:
        return type(module).__name__, "", "A module that is not registered.", []
    signature = made.signature if made is not None else entry.signature
    options = []
    for option in signature.options.values():
        if option.type.kind is None and made is not None:
            value = made.options.get(option.name, option.default)
            options.append(OptionValue(option.name, plain(value), value != option.default, option.doc))
    return made.label if made is not None else entry.label, entry.kind, signature.sentence, options


def plain(value: object) -> object:
    """A value as JSON can hold it."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return {str(k): plain(v) for k, v in value.items()} if isinstance(value, dict) else str(value)


def _flops(module: nn.Module, path: str, work: dict[str, Work]) -> int | None:
    """What the algorithm computes for the whole text; None where the part cannot count itself."""
    side = max((s for s in work if s and f"{path}.".startswith(f"{s}.")), key=len, default="")
    try:
        return flops_of(module, work[side]).algorithm
    except (AttributeError, TypeError, ValueError, NotImplementedError):
        return None


def folded(nodes: list[PartNode]) -> list[PartNode]:
    """Neighbouring layers that are alike as one node, with ``times``."""
    kept: list[PartNode] = []
    for node in nodes:
        if kept and node.label == "layer" and _alike(kept[-1]) == _alike(node):
            kept[-1].times += 1
            kept[-1].paths.append(node.path)
        else:
            kept.append(node)
    return kept


def _alike(node: PartNode) -> tuple[object, ...]:
    options = [(o.name, o.value) for o in node.options]
    return node.label, node.parameters, node.flops, repr(options), [(c.times, _alike(c)) for c in node.children]


def walk(node: PartNode, depth: int = 0) -> Iterator[tuple[int, PartNode]]:
    """Every node with its depth, from the root down."""
    yield depth, node
    for child in node.children:
        yield from walk(child, depth + 1)
