"""Adafactor: as Adam without momentum, with the mean squares of a matrix kept as one row and one column; steps in units of the weight.

Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 to 6
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.weights import Weight
from components.functional.precision import at_least_fp32
from components.parts.optimizer._decayed import Decayed
from components.parts.optimizer._state import called, grad_of, keep_dtypes, trained


@register("optimizer", "adafactor")
class Adafactor(Decayed, torch.optim.Optimizer):
    """Adafactor over all weights, each expert's matrix by itself; vectors keep all their mean squares.

    Not ``torch.optim.Adafactor``: that one takes the smaller of ``lr`` and 1 / sqrt(step), so that a schedule is another one than it
    says, puts ``eps`` at the dtype's own where the paper has 1e-30, and keeps the mean squares of bf16 weights in bf16.

    Args:
        lr: peak learning rate: the root mean square of a step over that of the weight.
        decay: the mean squares' decay at step t is 1 - t ** -decay.
        eps: added to squares of gradients, and the least root mean square of a weight.
        clip: most that the root mean square of a step may be, before the learning rate.
        relative: steps in units of the weight's root mean square; false takes ``lr`` as AdamW does.
    """

    lr = 1e-2
    decay: PositiveFloat = 0.8
    eps: tuple[float, float] = (1e-30, 1e-3)
    clip: PositiveFloat = 1.0
    relative: bool = True

    def __init__(self, weights: list[Weight]) -> None:
        own = {"decay": self.decay, "eps": tuple(self.eps), "clip": self.clip, "relative": self.relative}
        super().__init__(self.groups(weights), {"lr": self.lr, **own, "steps": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = called(closure)
        for group in self.param_groups:
            group["steps"] += 1
            fresh = group["steps"] ** -group["decay"]
            for p in trained(group):
                step = self._direction(p, at_least_fp32(grad_of(p)), fresh, group["eps"][0])
                step = step / (rms(step) / group["clip"]).clamp(min=1.0)
                if group["relative"]:
                    step = step * rms(at_least_fp32(p)).clamp(min=group["eps"][1])
                if group["weight_decay"]:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(step.to(p.dtype), alpha=-group["lr"])
        return loss

    def _direction(self, p: Tensor, grad: Tensor, fresh: float, eps: float) -> Tensor:
        """The gradient over the root of its mean square, which for a matrix is row x column / mean of the row."""
        state, square = self.state[p], grad.square().add_(eps)
        if p.ndim < 2:
            state.setdefault("square", torch.zeros_like(square)).lerp_(square, fresh)
            return grad * state["square"].rsqrt()
        for name, axis in (("rows", -1), ("columns", -2)):
            mean = whole(square.sum(axis, keepdim=True)) / p.shape[axis]
            state.setdefault(name, torch.zeros_like(mean)).lerp_(mean, fresh)
        rows, columns = state["rows"], state["columns"]
        return grad * (rows / rows.mean(-2, keepdim=True)).rsqrt() * columns.rsqrt()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        keep_dtypes(self, state_dict)


def rms(x: Tensor) -> Tensor:
    """Root mean square of each matrix (the last two axes) or of a vector."""
    axes = (-2, -1) if x.ndim > 1 else (-1,)
    return (whole(x.square().sum(axes, keepdim=True)) / math.prod(x.shape[a] for a in axes)).sqrt()


def whole(x: Tensor) -> Tensor:
    """Of shards the sum or the whole, on every rank; still a DTensor, so that it goes with shards."""
    return x.redistribute(placements=[Replicate()] * x.device_mesh.ndim) if isinstance(x, DTensor) else x
