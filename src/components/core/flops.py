"""FLOPs of a forward pass in two figures, which every part reports for itself: what its plain reference executes, and what its algorithm asks for.

A multiplication and an addition are 2 FLOPs; only products of matrices count (mm, bmm, convolutions), as ``torch.utils.flop_counter`` does.
``executed`` equals that counter on the naive reference to the digit: full T x T scores whatever the mask, recurrences in chunk form.
``algorithm`` leaves out what a perfect kernel would: cells that the mask hides, the overhead of chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import nn


@dataclass(frozen=True)
class Work:
    """One sequence: ``length`` positions, ``causal`` or seen whole; ``memory``: positions that an encoder wrote, where there are some."""

    length: int
    causal: bool = True
    memory: int | None = None


class Flops(NamedTuple):
    """FLOPs of one sequence, forward."""

    executed: int
    algorithm: int

    def __add__(self, other: object) -> Flops:  # type: ignore[override]
        assert isinstance(other, tuple)
        return Flops(self.executed + other[0], self.algorithm + other[1])

    def times(self, n: int) -> Flops:
        return Flops(self.executed * n, self.algorithm * n)


NOTHING = Flops(0, 0)


@runtime_checkable
class CountsFlops(Protocol):
    """It speaks for itself and all that is in it."""

    def flops(self, work: Work, /) -> Flops: ...


def both(flops: int) -> Flops:
    """Where the reference does exactly what the algorithm asks for."""
    return Flops(flops, flops)


def flops_of(module: nn.Module, work: Work) -> Flops:
    """What ``module`` computes for one sequence.

    A part with a method ``flops(work) -> Flops`` speaks for itself and all that is in it. Without one it is the sum of what is in it,
    each ``nn.Linear`` called once at every position: right for a part whose products are calls of its ``nn.Linear`` children.
    """
    if isinstance(module, CountsFlops) and callable(module.flops):
        return module.flops(work)
    if isinstance(module, nn.Linear):
        return both(2 * module.in_features * module.out_features * work.length)
    return children(module, work)


def flops_per_token(module: nn.Module, length: int) -> float:
    """FLOPs of forward and backward over sequences of ``length``: three times those of a forward pass, since a backward pass costs two."""
    return 3.0 * flops_of(module, Work(length)).algorithm / length


def children(module: nn.Module, work: Work, *, leave: Sequence[str] = ()) -> Flops:
    """The sum over the children of ``module``, those named in ``leave`` excepted; what ``adopt`` keeps out of the state dict is no child."""
    total = NOTHING
    for name, child in module.named_children():
        if name not in leave:
            total += flops_of(child, work)
    return total
