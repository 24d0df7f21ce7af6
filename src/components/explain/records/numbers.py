"""Vectors that go in, small networks whole, and gradients."""

from __future__ import annotations

from dataclasses import dataclass, field

from components.explain.pack import Array
from components.explain.records.record import MAY_LACK, Record


@dataclass
class Embedding(Record):
    """One call of an embedding.

    Args:
        path: of the part.
        tokens: which it reads, "source" or "tokens".
        width: D.
        norm: (T,) length of each vector.
        vectors: (T, D) the first ``tracing.DRAWN_VECTORS`` channels at most.
    """

    path: str
    tokens: str
    width: int
    norm: Array
    vectors: Array


@dataclass
class PositionTrace(Record):
    """What a position part does.

    Args:
        path, label, sentence: of the part.
        how: any of "adds" (to the embedding), "turns" (queries and keys), "biases" (scores).
        added: (T, K) what it adds to the embedding.
        width: channels of what it adds, of which ``added`` shows the first.
        turned: (T, K) what becomes of a vector of ones.
    """

    path: str
    label: str
    sentence: str
    how: list[str]
    added: Array | None = field(default=None, metadata=MAY_LACK)
    width: int | None = field(default=None, metadata=MAY_LACK)
    turned: Array | None = field(default=None, metadata=MAY_LACK)


@dataclass
class Values(Record):
    """Numbers of each position where the model reads numbers.

    Args:
        names: of the columns; empty where they have none.
        given: (T, F) as they were given.
        read: (T, F) scaled as the data scale theirs.
    """

    names: list[str]
    given: list[list[float]]
    read: list[list[float]]


@dataclass
class Linear(Record):
    """One layer of a small network, of K inputs and N neurons.

    Args:
        path: of the ``nn.Linear``.
        inputs: (T, K).
        weights: (N, K).
        sums: (T, N) before the activation.
        outputs: (T, N) what the next layer reads; of the last layer the sums.
        bias: (N,) or None.
    """

    path: str
    inputs: list[list[float]]
    weights: list[list[float]]
    sums: list[list[float]]
    outputs: list[list[float]]
    bias: list[float] | None


@dataclass
class Ends(Record):
    """Names of a network's inputs and outputs; empty where they have none."""

    inputs: list[str]
    outputs: list[str]


@dataclass
class Network(Record):
    """A small network whole. ``softmax``: its outputs are scores of labels."""

    layers: list[Linear]
    names: Ends
    softmax: bool


@dataclass
class StreamGradient(Record):
    """Length of the loss's gradient at the stream after the layer ``path``."""

    path: str
    norm: float


@dataclass
class LayerGradient(Record):
    """Of all weights of ``path`` together: length of the gradient, length of the weights."""

    path: str
    gradient: float
    weights: float


@dataclass
class WeightGradient(Record):
    """Of one parameter.

    Args:
        name: its full name.
        gradient, norm: length of its gradient, of itself.
        dead: rows whose gradient is exactly zero.
        of: rows.
    """

    name: str
    gradient: float
    norm: float
    dead: int
    of: int


@dataclass
class Backward(Record):
    """One backward pass.

    Args:
        loss: the total.
        terms: {name: its share of the total}.
        asked: positions with a target; None where targets are none of ids.
        stream, layers, weights: lengths of gradients.
    """

    loss: float
    terms: dict[str, float]
    asked: int | None
    stream: list[StreamGradient]
    layers: list[LayerGradient]
    weights: list[WeightGradient]
