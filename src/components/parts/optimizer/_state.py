"""What our own optimizers share: the closure, sums in fp32, and a state that keeps its dtype when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from components.functional.precision import at_least_fp32

Group = dict[str, Any]  # of parameters, as torch keeps one: ``params``, ``lr`` and whatever options
State = dict[str, Any]  # of one parameter, or the ``state_dict`` of an optimizer


def called(closure: Callable[[], Any] | None) -> Any:
    """What the closure returns, with gradients on; None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def zeros(p: Tensor) -> Tensor:
    """A running average's beginning; sharded as the parameter is."""
    return torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32), memory_format=torch.preserve_format)


def copied(p: Tensor) -> Tensor:
    """Its value in fp32 or wider, in memory of its own."""
    return p.detach().to(torch.promote_types(p.dtype, torch.float32), copy=True)


def trained(group: Group) -> list[Tensor]:
    """The group's parameters that have a gradient."""
    return [p for p in group["params"] if p.grad is not None]


def grad_of(p: Tensor) -> Tensor:
    """The gradient of one of ``trained``."""
    assert p.grad is not None
    return p.grad


@torch.no_grad()
def keep_dtypes(optimizer: torch.optim.Optimizer, saved: State) -> None:
    """After ``load_state_dict(saved)``, which casts all state to the parameter's dtype: what was saved in another one has it again."""
    for parameter, state in _pairs(optimizer, saved):
        held = optimizer.state.get(parameter, {})
        for name, value in state.items():
            mine = held.get(name)
            if isinstance(value, Tensor) and isinstance(mine, Tensor) and mine.dtype != value.dtype:
                held[name] = value.detach().to(device=mine.device, copy=True)


@torch.no_grad()
def load_wide(optimizer: torch.optim.Optimizer, saved: State, *names: str) -> None:
    """``keep_dtypes``, and the named states in fp32 at least, those of a checkpoint that had them narrower too."""
    keep_dtypes(optimizer, saved)
    for state in optimizer.state.values():
        state.update({name: at_least_fp32(state[name]) for name in names if name in state})


def _pairs(optimizer: torch.optim.Optimizer, saved: State) -> Iterator[tuple[Tensor, State]]:
    keys = [k for group in saved["param_groups"] for k in group["params"]]
    held = [p for group in optimizer.param_groups for p in group["params"]]
    for key, parameter in zip(keys, held, strict=True):
        yield parameter, saved["state"].get(key, {})
