"""What a part may do beside its kind's contract, one type each: ``isinstance(loss, Prepares)`` asks whether this loss does.

Nobody inherits from these: a class that has the method or the attribute is one of them, whichever package it comes from. Asking takes
microseconds, so it is done while something is built, never in a step.

Imports no torch when it runs: composing reads it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from components.core.sequence import Batch, SequenceInfo


@runtime_checkable
class Named(Protocol):
    """A class or a function, or what wraps one under its name."""

    __name__: str
    __qualname__: str


def address(target: object) -> tuple[str, str]:
    """(module, qualified name) of a class or a function; of an object that has no name, its class's module and nothing."""
    return (target.__module__, target.__qualname__) if isinstance(target, Named) else (type(target).__module__, "")


# positions


@runtime_checkable
class Embeds(Protocol):
    """It is added to the embedding."""

    def embed(self, x: Tensor, info: SequenceInfo, /) -> Tensor: ...


@runtime_checkable
class Rotates(Protocol):
    """It turns queries and keys."""

    def rotate(self, q: Tensor, k: Tensor, q_info: SequenceInfo, k_info: SequenceInfo, /) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class Biases(Protocol):
    """It biases scores."""

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo, k_info: SequenceInfo, /) -> Tensor | None: ...


# losses and heads


@runtime_checkable
class Prepares(Protocol):
    """It changes a batch before the model sees it."""

    def prepare(self, batch: Batch, generator: torch.Generator, /) -> Batch: ...


@runtime_checkable
class AddsTokens(Protocol):
    """It needs ids beyond the tokenizer's."""

    extra_tokens: int


@runtime_checkable
class LooksAhead(Protocol):
    """A head that predicts tokens beyond the next one on request."""

    n_ahead: int


# inits: what they get is a ``core.weights.Weight``, which stands above this file


@runtime_checkable
class ChecksWeights(Protocol):
    """It sees all weights before the first is drawn."""

    def check(self, weights: Sequence[object], /) -> None: ...


@runtime_checkable
class ScalesRates(Protocol):
    """It has a factor on the learning rate of each weight."""

    def lr_scale(self, weight: object, /) -> float: ...


# data


@runtime_checkable
class GivesExamples(Protocol):
    """It gives examples, and not documents alone."""

    def examples(self) -> Iterator[object]: ...


@runtime_checkable
class Judges(Protocol):
    """It tells whether a text is of the kind that the source has."""

    def judge(self, text: str, /) -> bool: ...


@runtime_checkable
class NamesColumns(Protocol):
    """It says what the numbers of each position are."""

    columns: Sequence[str] | None


# modules of a model


@runtime_checkable
class FollowsSteps(Protocol):
    """Training tells it the statistics of each optimizer step."""

    def after_step(self, stats: dict[str, Tensor], /) -> None: ...


@runtime_checkable
class ResetsParameters(Protocol):
    """It gives its constants their first values."""

    def reset_parameters(self) -> object: ...


@runtime_checkable
class FollowsBase(Protocol):
    """What it ``added`` to a module depends on the weight that was there before, and is set anew when that is loaded."""

    added: Sequence[str]

    def follow_base(self) -> None: ...


@runtime_checkable
class ReadsNumbers(Protocol):
    """It reads ``d_in`` numbers of each position instead of ids."""

    d_in: int | None


@runtime_checkable
class Lends(Protocol):
    """An attention that says whether later layers read its keys and values."""

    lends: bool


@runtime_checkable
class Allows(Protocol):
    """A mask: which keys each query sees."""

    def allow(self, q_positions: Tensor, k_positions: Tensor, /) -> Tensor | None: ...


@runtime_checkable
class SharedByModel(Protocol):
    """The model shares it out, so it is no child of its users."""

    shared_by_model: bool


# classes of parts


@runtime_checkable
class StandsFor(Protocol):
    """A class without a name of its own, which stands in the place of the registered part (kind, name)."""

    stands_for: tuple[str, str]


@runtime_checkable
class HasAcross(Protocol):
    """``across`` is the class that stands in its place where a memory is read."""

    across: Any


@runtime_checkable
class CheckedWith(Protocol):
    """The options with which ``components check`` makes it: ``("window=5", "model.n_layers=4")``."""

    checked_with: Sequence[str]


@runtime_checkable
class HasReference(Protocol):
    """The paper's formula, written plainly, with the arguments of ``forward``."""

    reference: Any


@runtime_checkable
class SaysZero(Protocol):
    """Whether its weights get no gradient, since it gives zeros."""

    zero: bool
