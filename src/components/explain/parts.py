"""The model as composed: every part inside the one that made it, with its options, parameters, FLOPs and memory."""

from __future__ import annotations

from typing import Any

from torch import nn

from components.core.flops import Work, flops_of
from components.core.registry import Entry
from components.core.sockets import Layer
from components.explain.recorder import Recorder
from components.explain.subject import Made, Subject

Node = dict[str, Any]


def drawing(subject: Subject, recorder: Recorder, work: dict[str, Work]) -> Node:
    """The root of the tree, children in the order in which they were called.

    Args:
        subject: the model and how its parts were made.
        recorder: of a forward pass.
        work: {path of a side's stack, "" for the whole: what it worked on}, for FLOPs.

    Returns: {name, path, label, sentence, options, parameters, bytes, out_bytes, shape, flops, times, children}; ``parameters`` are all that
        stand in it, ``times`` how many alike it stands for.
    """
    seen: set[int] = set()
    nodes = _nodes(subject, recorder, work, subject.model, "", "model", seen)
    return nodes[0]


def _nodes(
    subject: Subject, recorder: Recorder, work: dict[str, Work], module: nn.Module, path: str, name: str, seen: set[int]
) -> list[Node]:
    own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
    seen.update(map(id, own))
    children: list[Node] = []
    for child_name, child in module.named_children():
        children += _nodes(subject, recorder, work, child, f"{path}.{child_name}".lstrip("."), child_name, seen)
    entry = recorder.entries.get(path)
    loose = sum(p.numel() for p in own)
    if entry is None and not isinstance(module, Layer) and path and not recorder.kind_at(path):
        return [*children, _rest(path, own)] if own else children
    rest = [c for c in children if c["label"] == ""]
    matrices = [
        {"name": n, "shape": list(p.shape)} for n, p in module.named_parameters(recurse=False) if any(p is o for o in own)
    ]
    matrices += [m | {"name": m["name"].removeprefix(f"{path}.")} for c in rest for m in c["matrices"]]
    parts = sorted((c for c in children if c["label"]), key=lambda c: c["called"])
    parameters = loose + sum(c["parameters"] * c["times"] for c in children)
    size = sum(p.numel() * p.element_size() for p in own) + sum(c["bytes"] * c["times"] for c in children)
    node = {"name": name, "path": path, "parameters": parameters, "bytes": size, "times": 1, "paths": [path]}
    node |= {"matrices": matrices, "children": folded(parts)}
    node |= {"called": recorder.order.get(path, -1), "out_bytes": recorder.bytes.get(path, 0)}
    node |= {"shape": recorder.shapes.get(path), "flops": _flops(module, path, work)}
    return [node | described(module, entry, subject.made.get(id(module)))]


def _rest(path: str, own: list[nn.Parameter]) -> Node:
    """Numbers of a module that is no part: they belong to the part around it."""
    sizes = {"parameters": sum(p.numel() for p in own), "bytes": sum(p.numel() * p.element_size() for p in own)}
    matrices = [{"name": path if p.dim() > 1 or len(own) == 1 else f"{path}.bias", "shape": list(p.shape)} for p in own]
    return {"label": "", "path": path, "times": 1, "children": [], "called": 0, "matrices": matrices, **sizes}


def described(module: nn.Module, entry: Entry | None, made: Made | None) -> Node:
    """Label, sentence and options with what each does; whether a value is the default."""
    if isinstance(module, Layer):
        return {"label": "layer", "kind": "layer", "sentence": "A block and its place in depth.", "options": []}
    if entry is None:
        return {"label": type(module).__name__, "kind": "", "sentence": "A module that is not registered.", "options": []}
    signature = made.signature if made is not None else entry.signature
    options = []
    for option in signature.options.values():
        if option.type.kind is None and made is not None:
            value = made.options.get(option.name, option.default)
            options.append({"name": option.name, "value": plain(value), "changed": value != option.default, "doc": option.doc})
    label = made.label if made is not None else entry.label
    return {"label": label, "kind": entry.kind, "sentence": signature.sentence, "options": options}


def plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return {str(k): plain(v) for k, v in value.items()} if isinstance(value, dict) else str(value)


def _flops(module: nn.Module, path: str, work: dict[str, Work]) -> int | None:
    """Of the algorithm, on the whole text; None where the part cannot count itself."""
    side = max((s for s in work if s and f"{path}.".startswith(f"{s}.")), key=len, default="")
    try:
        return flops_of(module, work[side]).algorithm
    except (AttributeError, TypeError, ValueError, NotImplementedError):
        return None


def folded(nodes: list[Node]) -> list[Node]:
    """Neighbours that are alike as one, with ``times``."""
    kept: list[Node] = []
    for node in nodes:
        if kept and node["label"] == "layer" and _alike(kept[-1]) == _alike(node):
            kept[-1]["times"] += 1
            kept[-1]["paths"].append(node["path"])
        else:
            kept.append(node)
    return kept


def _alike(node: Node) -> Any:
    options = [(o["name"], o["value"]) for o in node["options"]]
    return node["label"], node["parameters"], node["flops"], repr(options), [(c["times"], _alike(c)) for c in node["children"]]


def walk(node: Node, depth: int = 0) -> Any:
    yield depth, node
    for child in node["children"]:
        yield from walk(child, depth + 1)
