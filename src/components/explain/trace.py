"""The trace: every number of one real pass, as the page, the table, the figures and the tests read it.

Each class is one object of the page's JSON, and each field one of its keys. Tensors are ``Array``s until ``pack.packed`` writes them. Everything is of
the first row of the batch. ``T`` counts the positions that are shown, ``S`` those that are read (of the source, where a part reads one). The metadata
of a field say where its key has another name, and where it is left out of the JSON; otherwise None stands there as null.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from components.explain.pack import Array
from components.explain.records.layers import Ablation, Branch, LayerTrace, LensRow, Mixer, Neurons
from components.explain.records.model import Facts, Matrix, OptionValue, PartNode, Side
from components.explain.records.numbers import (
    Backward,
    Embedding,
    Ends,
    LayerGradient,
    Linear,
    Network,
    PositionTrace,
    StreamGradient,
    Values,
    WeightGradient,
)
from components.explain.records.record import MAY_LACK, Record
from components.explain.records.text import (
    Answer,
    Candidate,
    Follower,
    Generation,
    Prediction,
    Sentence,
    Stage,
    Step,
    Token,
    Whole,
)

__all__ = [
    "VERSION",
    "Ablation",
    "Answer",
    "Backward",
    "Branch",
    "Candidate",
    "Comparison",
    "Embedding",
    "Ends",
    "Fact",
    "Facts",
    "Follower",
    "Generation",
    "LayerGradient",
    "LayerTrace",
    "LensRow",
    "Linear",
    "Matrix",
    "Mixer",
    "Network",
    "Neurons",
    "OptionValue",
    "PartNode",
    "PositionTrace",
    "Prediction",
    "Record",
    "Sentence",
    "Side",
    "Stage",
    "Step",
    "StreamGradient",
    "Token",
    "Trace",
    "Values",
    "WeightGradient",
    "Whole",
]

VERSION = 1


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
