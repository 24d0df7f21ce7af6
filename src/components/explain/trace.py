"""The trace: every number of one real pass, as the page, the table, the figures and the tests read it.

Each class is one object of the page's JSON, and each field one of its keys. Tensors are ``Array``s until ``pack.packed`` writes them. Everything is of
the first row of the batch. ``T`` counts the positions that are shown, ``S`` those that are read (of the source, where a part reads one). The metadata
of a field say where its key has another name, and where it is left out of the JSON; otherwise None stands there as null.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from components.explain.pack import Array, key_of

VERSION = 1
MAY_LACK = {"left_out": True}  # the key is left out of the JSON where the value is None


class Record:
    """An object of the trace. ``record["key"]`` reads it by the key of the page's JSON, as ``record.key`` does."""

    def __getitem__(self, key: str) -> Any:
        for f in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if key_of(f) == key:
                return getattr(self, f.name)
        raise KeyError(key)


class Candidate(NamedTuple):
    """A token that may follow: [id, logit, probability] in the JSON."""

    id: int
    logit: float
    p: float


@dataclass
class Token(Record):
    """Args:
    id: its number.
    text: how it is shown.
    role: "begins" (stands before every text), "prompt", "written" (by the model) or "source".
    special: whether it stands for no text.
    """

    id: int
    text: str
    role: str
    special: bool


@dataclass
class Follower(Record):
    """The token that does follow a position, with the logit, the probability and the rank (from 1) that the model gave it."""

    id: int
    logit: float
    p: float
    rank: int


@dataclass
class Prediction(Record):
    """What the head says at one position.

    Args:
        top: the likeliest tokens, the most likely first.
        next: the token that follows; None at the end, and in models that continue no text.
        entropy: of the distribution, in nats.
        max: the largest logit.
        log_sum: ln of the sum of e^logit.
    """

    top: list[Candidate]
    next: Follower | None
    entropy: float
    max: float
    log_sum: float


@dataclass
class Stage(Record):
    """Probabilities after one sampler.

    Args:
        name: the sampler with its options.
        kept: tokens with a probability above 0.
        of: tokens of the vocabulary.
        top: the likeliest of them.
        p: of the token that was chosen; None where the text ended.
    """

    name: str
    kept: int
    of: int
    top: list[Candidate]
    p: float | None


@dataclass
class Step(Record):
    """How one token was chosen.

    Args:
        position: of the token before it.
        chosen: its id; None if a draw ended the text that is no stop token.
        stages: the model's probabilities, then those after each sampler.
        drawn: the number in [0, 1) that was drawn; this and what follows is None where nothing is drawn.
        from_, to: the part of the running sum of probabilities, in order of ids, that ``drawn`` fell into.
        fell_on: the id that has this part.
    """

    position: int
    chosen: int | None
    stages: list[Stage]
    drawn: float | None = field(default=None, metadata=MAY_LACK)
    from_: float | None = field(default=None, metadata={"key": "from", **MAY_LACK})
    to: float | None = field(default=None, metadata=MAY_LACK)
    fell_on: int | None = field(default=None, metadata=MAY_LACK)


@dataclass
class Generation(Record):
    """What the model wrote: by which decoding and seed, step by step; ``ended``: it chose a stop token itself."""

    decoding: str
    seed: int
    steps: list[Step]
    ended: bool


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


@dataclass
class Sentence(Record):
    """One sentence of an answer. ``at``: [mixer, head, column] of the cell that it speaks of."""

    about: str
    text: str
    at: tuple[int, int, int] | None = field(default=None, metadata=MAY_LACK)


@dataclass
class Answer(Record):
    """What the model says at one position, or of the whole input, and why.

    Args:
        said: the token or the label as text.
        id: of the token, or the number of the label.
        written: whether the model wrote it here.
        follows: whether it is what follows in the text, not only the likeliest.
        sentences: the reasons.
    """

    said: str
    id: int
    written: bool
    follows: bool
    sentences: list[Sentence]


@dataclass
class Whole(Record):
    """What a head says of the whole input.

    Args:
        names: of the labels; of amounts, their numbers from 1.
        scores: one for each.
        p: probabilities of the labels; None for amounts.
        likeliest: index of the best label; 0 for amounts.
    """

    names: list[str]
    scores: list[float]
    p: list[float] | None
    likeliest: int


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


@dataclass
class Trace(Record):
    """All of one pass.

    Args:
        version: of this layout.
        name, trained: of the run or recipe, and how long it was trained.
        difference: lines that say what the config changes of its recipe.
        notes: what a reader should know.
        model: the root of the tree of parts.
        first: position of the first token that is shown.
        given: tokens that the model did not write.
        begins: how many of these stand before every text.
        why_not: why the model continues no text; empty where it does.
        output_kind: "tokens", "classes" or "amounts"; the key is ``says``.
        whole: what a head says that speaks of the whole input; None for tokens.
        source: what an encoder reads; None without one.
        without: the answer without each branch; empty where the stream is no plain sum.
        influence: (T, S) to first order, what each token adds to the logit of each answer.
        backward: where a loss was asked for.
        words: {id: text} of every id in the trace.
    """

    version: int
    name: str
    trained: str
    difference: list[str]
    notes: list[str]
    model: PartNode
    facts: Facts
    first: int
    given: int
    begins: int
    why_not: str
    output_kind: str = field(metadata={"key": "says"})
    whole: Whole | None
    tokens: list[Token]
    sides: list[Side]
    values: Values | None
    source: list[Token] | None
    embeddings: list[Embedding]
    positions: list[PositionTrace]
    layers: list[LayerTrace]
    mixers: list[Mixer]
    predictions: list[Prediction]
    lens: list[LensRow]
    without: list[Ablation]
    generation: Generation | None
    influence: Array | None
    network: Network | None
    backward: Backward | None
    answers: list[Answer]
    words: dict[str, str]

    @property
    def steps(self) -> list[Step]:
        """How each token was chosen that the model wrote."""
        return self.generation.steps if self.generation is not None else []


@dataclass
class Fact(Record):
    """A figure of two models. ``big``: a count, written in groups of three; ``bytes``: a size in memory."""

    name: str
    a: float | None
    b: float | None
    big: bool | None = field(default=None, metadata=MAY_LACK)
    bytes: bool | None = field(default=None, metadata=MAY_LACK)


@dataclass
class Comparison(Record):
    """Two models on one text: lines of what differs in their configs, figures, and [token, p of the first, p of the second]."""

    difference: list[str]
    facts: list[Fact]
    tokens: list[tuple[str, float, float]]
