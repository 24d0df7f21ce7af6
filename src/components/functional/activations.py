"""Activations by the names that papers and checkpoints use. A new one is a name in ``Activation`` and a function in ``ACTIVATIONS``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal[
    "relu",
    "relu2",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "silu",
    "mish",
    "softplus",
    "softsign",
    "hard_swish",
    "sigmoid",
    "tanh",
    "identity",
]
Unit = Literal[Activation, "step"]  # of networks whose units are looked at as such, whether they can learn or not


class _Context(Protocol):
    """What autograd hands to both passes."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...

    def set_materialize_grads(self, value: bool) -> None: ...


class _Relu2(torch.autograd.Function):
    """The square, and max(x, 0) for derivatives. Autograd goes back through power and threshold in five passes; these are two."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor) -> tuple[Tensor, Tensor]:
        above = F.relu(x)
        ctx.save_for_backward(above)
        ctx.set_materialize_grads(False)
        return above * above, above

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor | None) -> Tensor | None:  # type: ignore[override]  # which are there
        (above,), (of_square, of_above) = ctx.saved_tensors, grads
        found = None if of_square is None else (of_square * above).mul_(2)
        if of_above is None:  # it is asked for by a second derivative alone
            return found
        through = of_above * (above > 0)
        return through if found is None else found + through


def relu2(x: Tensor) -> Tensor:
    """max(x, 0)^2. So et al. 2021 (Primer), arXiv:2109.08668."""
    seen = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()  # pyright: ignore[reportPrivateImportUsage]
    return F.relu(x).square() if seen or not (x.requires_grad and torch.is_grad_enabled()) else _Relu2.apply(x)[0]


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x), the sigmoid approximation. Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2."""
    return x * F.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu2": relu2,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": quick_gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "hard_swish": F.hardswish,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "identity": lambda x: x,
}


def step(x: Tensor) -> Tensor:
    """1 above 0, else 0: a threshold unit, whose gradient is 0 everywhere. McCulloch & Pitts 1943; Rosenblatt 1958."""
    return F.relu(x.sign())  # no comparison: its gradient is there, and 0


UNITS: dict[str, Callable[[Tensor], Tensor]] = {**ACTIVATIONS, "step": step}


def clamped_glu(gate: Tensor, up: Tensor, limit: float, slope: float) -> Tensor:
    """(up + 1) * gate * sigmoid(slope * gate), with gate at most ``limit`` and up within +- ``limit``, as gpt-oss has it."""
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return (up + 1) * gate * F.sigmoid(slope * gate)


def xielu(x: Tensor, alpha_p: Tensor, alpha_n: Tensor, beta: float) -> Tensor:
    """alpha_p x^2 + beta x where x > 0, else alpha_n (exp(x) - 1 - x) + beta x. Huang & Schlag 2024, arXiv:2411.13010."""
    below = x.clamp(max=0.0)  # exp of what is above would overflow, and 0 times infinity is no gradient
    return torch.where(x > 0, alpha_p * x * x, alpha_n * (torch.expm1(below) - below)) + beta * x


def glu_width(d_model: int, multiple_of: int) -> int:
    """8/3 of d_model, rounded up: a GLU of that width has as many parameters as an MLP of width 4 d_model."""
    return -(-8 * d_model // (3 * multiple_of)) * multiple_of
