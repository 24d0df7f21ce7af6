"""What a module of a model, or the class of a part, may have beside its kind's contract: one type each, for ``isinstance``.

Nobody inherits from these: what has the method or the attribute is one of them, whichever package it comes from. Since Python 3.12 such a
question sees what stands in the object and in its class, and not what ``__getattr__`` answers: a child module, or what a wrapper hands on.
Where a plug-in may have that, ``core/traits.py`` asks by name instead. A question takes microseconds: it is for building, never for a step.
Imports no torch when it runs: composing reads it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@runtime_checkable
class Named(Protocol):
    """A class or a function, or what wraps one under its name."""

    __name__: str
    __qualname__: str


def address(target: object) -> tuple[str, str]:
    """(module, qualified name) of a class or a function; of an object that has no name, its class's module and nothing."""
    return (target.__module__, target.__qualname__) if isinstance(target, Named) else (type(target).__module__, "")


@runtime_checkable
class NamesColumns(Protocol):
    """It says what the numbers of each position are."""

    columns: Sequence[str] | None


@runtime_checkable
class TakesModel(Protocol):
    """It works with what other runs have trained: ``attach`` gives it that, and it is ``attached`` from then on."""

    @property
    def attached(self) -> Any: ...
    def attach(self, model: Any, /) -> None: ...


@runtime_checkable
class Cuts(Protocol):
    """A cache that can forget its last positions without reading those before them again."""

    def cut(self, length: int) -> bool:
        """Keep the first ``length`` positions. False, and nothing has changed, where something is kept that is not kept by position."""
        ...


@runtime_checkable
class NeedsModels(TakesModel, Protocol):
    """It works with the models of ``runs``. ``attach`` takes an nn.ModuleList of them, in this order; `NeedsModel` has one."""

    runs: Sequence[str]


# modules of a model


@runtime_checkable
class FollowsSteps(Protocol):
    """Training tells it the statistics of each optimizer step."""

    def after_step(self, stats: dict[str, Tensor], /) -> None: ...


@runtime_checkable
class TakesTurns(Protocol):
    """It holds modules of which one computes in each step of training, whose number training tells it: the same on every rank, and for all rows."""

    def begin_step(self, seed: int, step: int, /) -> None: ...
    def take(self, turn: int | None, /) -> None: ...  # by number, for who measures; None: as if no step had begun
    def in_turn(self) -> Sequence[Module]:
        """The modules; those whose turn it is not have no gradient in that step."""
        ...


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
class OpensStream(Protocol):
    """A residual: it makes the stream of what the embedding gives."""

    def open(self, x: Tensor, /) -> Tensor: ...


@runtime_checkable
class Allows(Protocol):
    """A mask: which keys each query sees."""

    def allow(self, q_positions: Tensor, k_positions: Tensor, /) -> Tensor | None: ...


@runtime_checkable
class Splits(Protocol):
    """A part, or any module that says over which axes its output is a sum of pieces (``contracts.Part.splits``)."""

    splits: Mapping[str, int]


@runtime_checkable
class KnowsPiece(Protocol):
    """A part that must know which of its pieces it computes, since it numbers what they hold: experts."""

    piece: int


@runtime_checkable
class SendsTokens(Protocol):
    """A mixture whose tokens may be computed elsewhere, each by itself. ``applied`` is ``functional.experts.apply_experts``, or what sends tokens away first;
    ``sent_choices``: how many experts a token has; 0 where none may be sent."""

    router: Module
    d_model: int
    n_experts: int
    sent_choices: int
    applied: Callable[..., Tensor]


@runtime_checkable
class SharedByModel(Protocol):
    """The model shares it out, so it is no child of its users."""

    shared_by_model: bool


@runtime_checkable
class HandsOn(Protocol):
    """It writes these words for later layers."""

    carries_out: Sequence[str]


@runtime_checkable
class OfTwoModels(Protocol):
    """A model that holds another one, of which the objective is asked: under the name ``asked``."""

    asked: str


# parts


@runtime_checkable
class JudgesOne(Protocol):
    """A loss over pairs, of which a row may have one answer alone, that was judged by itself."""

    judges_one: bool


@runtime_checkable
class NeedsModel(Protocol):
    """A part that works with what another run has trained: a teacher, a draft, a tokenizer. Whoever builds the part opens that run.

    ``run``: the run or checkpoint that it names, if it names one. ``attach`` takes that run's model (a tokenizer: its tokenizer), which is
    ``attached`` from then on.
    """

    run: str | None

    @property
    def attached(self) -> Any: ...
    def attach(self, model: object, /) -> None: ...


# classes of parts


@runtime_checkable
class Needs(Protocol):
    """What it needs of parts of other kinds: ``{"head": ("ahead",)}``."""

    needs: Mapping[str, Sequence[str]]


@runtime_checkable
class StandsFor(Protocol):
    """A class without a name of its own, which stands in the place of the registered part (kind, name)."""

    stands_for: tuple[str, str]


@runtime_checkable
class StaysAs(Protocol):
    """A model of which training leaves another registered one: what has the same options and names there."""

    stays_as: str


@runtime_checkable
class MeasuresTerms(Protocol):
    """A model that writes terms beside the objective's, which a validation shows."""

    measures_terms: Sequence[str]


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
