"""Optimizers around an optimizer: one set of groups and one state, so that schedules, checkpoints and clipping see a single optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.optim import Optimizer


@runtime_checkable
class SeesNorm(Protocol):
    """An optimizer that asks for the norm of each step's gradients before they were clipped."""

    def saw_norm(self, norm: Tensor, /) -> None: ...


def layers(optimizer: Optimizer) -> Iterator[Optimizer]:
    """The optimizer, what it wraps, what that wraps ..."""
    held: Any = optimizer
    while held is not None:
        yield held
        held = getattr(held, "inner", None)


def averaging(optimizer: Optimizer) -> Optimizer | None:
    """The one of its layers that has other weights for evaluation than for training: ``eval()`` and ``train()`` swap them."""
    return next((o for o in layers(optimizer) if callable(getattr(o, "eval", None))), None)


def tell_norm(optimizer: Optimizer, norm: Tensor | None) -> None:
    """The norm of this step's gradients before they were clipped, to whichever layer asks for it (``saw_norm``)."""
    for one in layers(optimizer):
        if norm is not None and callable(getattr(one, "saw_norm", None)):
            one.saw_norm(norm)  # type: ignore[attr-defined]


def figures(optimizer: Optimizer) -> dict[str, float]:
    """What its layers say of themselves (``figures``), for the run's own: counts of steps that were skipped, say."""
    found: dict[str, float] = {}
    for one in layers(optimizer):
        told: Any = getattr(one, "figures", None)
        if callable(told):
            found.update(told())  # type: ignore[call-overload]
    return found


def share(outer: Optimizer, inner: Optimizer) -> None:
    """Groups and state of ``inner`` are those of ``outer`` too."""
    outer.param_groups, outer.state, outer.defaults = inner.param_groups, inner.state, inner.defaults


def load(outer: Optimizer, inner: Optimizer, saved: dict[str, Any]) -> None:
    """``load_state_dict`` of both: the inner one takes everything, as it does alone."""
    inner.load_state_dict(saved)
    share(outer, inner)
