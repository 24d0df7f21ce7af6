"""Tokens, what the model says at each, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from components.explain.records.record import MAY_LACK, Record


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
