"""Activations, alone or as gates, whose gradients are written where they are wanted: autograd makes a tensor for each, from which it has to be copied.

Bit for bit what autograd computes: GELU, SiLU and ReLU by the kernels that it calls, the square of ReLU in fewer passes, to the same values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from components.functional.activations import ACTIVATIONS, relu2

Bend = Callable[..., Tensor]  # takes tensors of one shape, position by position, and has no weights of its own
aten = torch.ops.aten


class Gated:
    """bend(gate) * up. (..., F), (..., F) -> (..., F)."""

    def __init__(self, bend: Bend) -> None:
        self.bend = bend

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        return self.bend(gate) * up


@dataclass(frozen=True)
class _Kernel:
    value: Callable[[Tensor, Tensor], Tensor]  # of x, written into the second
    gradient: Callable[
        [Tensor, Tensor, Tensor], Tensor
    ]  # of x, from that of the output and x, written into the third, which may be the first


KERNELS: dict[Bend, _Kernel] = {
    F.gelu: _Kernel(
        lambda x, out: aten.gelu.out(x, out=out),
        lambda grad, x, out: aten.gelu_backward.grad_input(grad, x, grad_input=out),
    ),
    ACTIVATIONS["gelu_tanh"]: _Kernel(
        lambda x, out: aten.gelu.out(x, approximate="tanh", out=out),
        lambda grad, x, out: aten.gelu_backward.grad_input(grad, x, approximate="tanh", grad_input=out),
    ),
    F.silu: _Kernel(
        lambda x, out: aten.silu.out(x, out=out),
        lambda grad, x, out: aten.silu_backward.grad_input(grad, x, grad_input=out),
    ),
    relu2: _Kernel(
        lambda x, out: aten.relu.out(x, out=out).square_(),
        lambda grad, x, out: torch.mul(grad, F.relu(x), out=out).mul_(2),
    ),
    F.relu: _Kernel(
        lambda x, out: aten.relu.out(x, out=out),
        lambda grad, x, out: aten.threshold_backward.grad_input(grad, x, 0, grad_input=out),
    ),
}


def written(bend: Bend) -> bool:
    """Whether ``write`` knows this bend."""
    return (bend.bend if isinstance(bend, Gated) else bend) in KERNELS


def write(bend: Bend, parts: list[Tensor], grad: Tensor, bent: Tensor, found: list[Tensor]) -> None:
    """``bend(*parts)`` into ``bent``, and the gradients of the parts into ``found``, whose first may be ``grad``. All of one shape (N, F) and dtype."""
    x, *others = parts
    if not isinstance(bend, Gated):
        KERNELS[bend].value(x, bent)
        KERNELS[bend].gradient(grad, x, found[0])
        return
    kernel, (up,) = KERNELS[bend.bend], others
    gate = kernel.value(x, torch.empty_like(x))
    torch.mul(gate, up, out=bent)
    torch.mul(grad, gate, out=found[1])
    torch.mul(grad, up, out=found[0])
    kernel.gradient(found[0], x, found[0])
