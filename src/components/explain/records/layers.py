"""Layers of a pass: the stream, its branches, what attention reads, and what the head would say."""

from __future__ import annotations

from dataclasses import dataclass, field

from components.explain.pack import Array
from components.explain.records.record import MAY_LACK, Record
from components.explain.records.text import Candidate


@dataclass
class Neurons(Record):
    """The hidden layer of an FFN.

    Args:
        width: number of neurons; this and the three below are None where the FFN has no projection called ``out``.
        top: for each position the strongest neurons, [number, activation].
        active: (T,) share of neurons that are not zero.
        silent: neurons that are zero at every position that was read.
        experts: of a mixture, for each position [expert, weight], the greatest weight first.
    """

    width: int | None = field(default=None, metadata=MAY_LACK)
    top: list[list[tuple[int, float]]] | None = field(default=None, metadata=MAY_LACK)
    active: Array | None = field(default=None, metadata=MAY_LACK)
    silent: int | None = field(default=None, metadata=MAY_LACK)
    experts: list[list[tuple[int, float]]] | None = field(default=None, metadata=MAY_LACK)


@dataclass
class Branch(Record):
    """What a layer's attention or FFN wrote into the stream.

    Args:
        name: of the attribute that holds the part.
        kind: "attention" or "ffn".
        path: of the part.
        norm: (T,) length of what it wrote.
        mixers: of an attention, indices into ``Trace.mixers``.
        neurons: of an FFN, None where it shows none; an attention has no such key.
    """

    name: str
    kind: str
    path: str
    norm: Array
    mixers: list[int] | None = field(default=None, metadata=MAY_LACK)
    neurons: Neurons | None = field(default=None, metadata={"left_out_with": "mixers"})


@dataclass
class LayerTrace(Record):
    """One call of a layer.

    Args:
        path: of the layer, or of an attention that stands in none.
        side: index into ``Trace.sides``.
        branches: in the order of their calls.
        visit: how often the layer was called before.
        norm, norm_before: (T,) length of the stream after it, before it.
    """

    path: str
    side: int
    branches: list[Branch]
    visit: int
    norm: Array
    norm_before: Array


@dataclass
class Mixer(Record):
    """What one attention reads, H heads of G groups of keys and values.

    Args:
        path: of the part.
        layer: index into ``Trace.layers``.
        how: what the weights are: a key of ``mixers.HOW``.
        heads: H.
        side: index of the side whose positions read.
        reads: index of the side whose positions are read.
        crossed: whether it reads the other side.
        weights: (H, T, S).
        outside: (H, T) weight on positions that are not shown; None where all are.
        decay: (H, T) running sum of the logarithm of what the state keeps.
        divisor: (H, T) what was read is divided by.
        q, k, v: (H, T, K), (G, S, K), (G, S, V), None where there are none.
        bias: (H or 1, T, S) added to the scores.
        seen: for each position a text of "1" (seen) and "0" (hidden).
        scale, soft_cap: of the scores.
        sinks: (H,) logits that take weight and give nothing.
        mixing: (H, H') factors by which H' maps were added up to heads.
        maps: (H', T, S) these maps; left out of the JSON where ``mixing`` is.
        context_norm: (H, T) length of what each head read.
    """

    path: str
    layer: int
    how: str
    heads: int
    side: int
    reads: int
    crossed: bool
    weights: Array
    outside: Array | None
    decay: Array | None
    divisor: Array | None
    q: Array | None
    k: Array | None
    v: Array | None
    bias: Array | None
    seen: list[str] | None
    scale: float | None
    soft_cap: float | None
    sinks: list[float] | None
    mixing: list[list[float]] | None = field(default=None, metadata=MAY_LACK)
    maps: Array | None = field(default=None, metadata={"left_out_without": "mixing"})
    context_norm: Array | None = None


@dataclass
class LensRow(Record):
    """What the head says of the stream after one layer.

    Args:
        after: path of the layer; "embedding" before the first.
        top: for each position the likeliest tokens.
        next: for each position the probability of the token that follows.
    """

    after: str
    top: list[list[Candidate]]
    next: list[float | None]


@dataclass
class Ablation(Record):
    """For each position the probability of the token that follows if what ``path`` wrote were taken out of the stream."""

    path: str
    p: list[float | None]
