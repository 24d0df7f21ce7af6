"""Activations by the names that papers and checkpoints use. A new one is a name in ``Activation`` and a function in ``ACTIVATIONS``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

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


def relu2(x: Tensor) -> Tensor:
    """max(x, 0)^2. So et al. 2021 (Primer), arXiv:2109.08668."""
    return F.relu(x).square()


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
