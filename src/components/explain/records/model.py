"""The model itself: its tree of parts and its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from components.explain.records.record import Record


@dataclass
class Matrix(Record):
    """A parameter: its name within the part and its shape."""

    name: str
    shape: list[int]


@dataclass
class OptionValue(Record):
    """An option of a part: its value as plain data, whether that is not the default, and what it does."""

    name: str
    value: object
    changed: bool
    doc: str


@dataclass
class PartNode(Record):
    """A part in the tree of the model.

    Args:
        name: of the attribute that holds it.
        path: from the model.
        parameters: numbers that stand in it and in what is in it.
        bytes: of these.
        times: how many alike it stands for.
        paths: theirs.
        matrices: the parameters that are its own, and those of modules in it that are no parts.
        children: parts in it, in the order of their calls.
        called: number of its first call; -1 if it was never called.
        out_bytes: bytes of all that it gave.
        shape: of what it gave last.
        flops: for the whole text; None where they cannot be counted.
        label: kind/name; empty for a module that is no part.
        kind: its kind, "layer", or empty.
        sentence: what it does.
        options: its own, as it was made with.
    """

    name: str
    path: str
    parameters: int
    bytes: int
    times: int
    paths: list[str]
    matrices: list[Matrix]
    children: list[PartNode]
    called: int
    out_bytes: int
    shape: list[int] | None
    flops: int | None
    label: str
    kind: str
    sentence: str
    options: list[OptionValue]


@dataclass
class Facts(Record):
    """Sizes of the model and of the text.

    Args:
        parameters, bytes: of the model.
        tokens: positions that were read.
        flops: of the pass; None where they cannot be counted.
        flops_per_token: the same by ``tokens``.
        config: {group: name of its part}.
    """

    parameters: int
    bytes: int
    tokens: int
    flops: int | None
    flops_per_token: float | None
    config: dict[str, str]


@dataclass
class Side(Record):
    """A stack of layers: ``tokens`` says which it reads, "source" or "tokens"; ``causal``: no position sees a later one."""

    path: str
    name: str
    tokens: str
    causal: bool
