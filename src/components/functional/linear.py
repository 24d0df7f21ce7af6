"""A linear map and its gradients: the one place that chooses who multiplies.

In fp32 torch asks MKL, which uses half of the width of AMD's processors. oneDNN, which torch has for bf16, uses all of it: the same sums in another order, on
a Zen 5 twice as fast. So large products are oneDNN's there, and all others are torch's own.

In bf16 torch asks oneDNN anyway, but fills the output with the bias first and has the product added onto it: a pass more over the largest tensors. oneDNN
adds a bias while it writes what it multiplied: bit for bit the same numbers, in a sixth less time.
"""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from components.functional import chosen

LEAST = 1 << 22  # multiplications of a product: below, a call of oneDNN's costs more than it saves
WRITTEN = 1 << 18  # numbers of an output in bf16: below, its first filling costs less than a gradient in Python
ZEN_5 = 26  # AMD's family of processors from which 512 bits are multiplied at once, and not in two halves
PLAIN = (nn.Parameter, Tensor)
PLAINLY = ("none", [], "")  # nothing is done to a product besides


class Linear(nn.Linear):
    """``nn.Linear``, whose products are chosen by ``linear``. x (..., in) -> x W^T + b (..., out)."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


MAPS = (nn.Linear, Linear)  # the classes of a plain linear map


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``. x (..., in), weight (out, in), bias (out,) -> (..., out)."""
    faster = _faster(x, weight)
    if faster and chosen.heard is not None:  # of fake tensors too, which tell what would be
        chosen.tell("products in fp32", "oneDNN", "MKL uses half of the width of this processor")
    if bias is not None and _in_one_pass(x, weight, bias):
        if chosen.heard is not None:
            chosen.tell("biases in bf16", "added by the product", "the same numbers, without a pass of their own")
        return _Linear.apply(x.to(torch.bfloat16), weight.to(torch.bfloat16), bias.to(torch.bfloat16))
    return _Linear.apply(x, weight, bias) if faster and _unseen(x, weight) else F.linear(x, weight, bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` for use within an autograd function: it has no gradient of its own."""
    ours = _pays(x, weight) or (bias is not None and _in_one_pass(x, weight, bias))
    return _multiplied(x, weight, bias) if ours else F.linear(x, weight, bias)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a (M, K) @ b (K, N), or stacks of them, matrix by matrix; without a gradient of its own, as ``product``."""
    if a.ndim == 2:
        return product(a, b.t())
    if len(a) and _pays(a[0], b[0].t()):
        return torch.stack([_multiplied(x, y.t()) for x, y in zip(a, b, strict=True)])
    return a @ b


def input_gradient(grad: Tensor, weight: Tensor, onto: Tensor | None = None) -> Tensor:
    """(N, out) of the output, weight (out, in) -> (N, in) of the input, added to ``onto``, which is lost; without a gradient of its own, as ``product``."""
    if not _pays(grad, weight.t()):
        return grad @ weight if onto is None else onto.addmm_(grad, weight)
    if onto is None:
        return _multiplied(grad, weight.t())
    return torch.ops.mkldnn._linear_pointwise.binary(grad, onto, weight.t(), None, "add")


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """(N, out) of the output, x (N, in) -> (out, in) of the weight; without a gradient of its own, as ``product``."""
    if not _pays(grad.t(), x.t()):
        return grad.t() @ x
    if x.shape[1] < grad.shape[1]:  # oneDNN lays its first factor out anew, so the smaller one
        return _multiplied(x.t(), grad.t()).t().contiguous()
    return _multiplied(grad.t(), x.t())


def _pays(x: Tensor, weight: Tensor) -> bool:
    return _faster(x, weight) and _unseen(x, weight)


def _faster(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN multiplies x (..., in) by weight (out, in) faster than torch would."""
    return (
        not torch.compiler.is_compiling()  # both are asked before the size: a program may be for all sizes
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and x.dtype is torch.float32
        and x.numel() * weight.shape[0] >= LEAST
        and weight.dtype is torch.float32
        and x.device.type == weight.device.type == "cpu"
        and wider()
        and not torch.is_autocast_enabled("cpu")
    )


def _in_one_pass(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Whether x (..., in) is multiplied by weight (out, in) in bf16 on a CPU, and so large that torch's own filling of the output with the bias costs time."""
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and x.device.type == weight.device.type == "cpu"
        and x.numel() * weight.shape[0] >= WRITTEN * weight.shape[1]
        and _in_bf16(x, weight, bias)
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and _unseen(x, weight, bias)
    )


def _in_bf16(*tensors: Tensor) -> bool:
    if not torch.is_autocast_enabled("cpu"):
        return all(t.dtype is torch.bfloat16 for t in tensors)
    return torch.get_autocast_dtype("cpu") is torch.bfloat16 and all(
        t.dtype in (torch.float32, torch.bfloat16) for t in tensors
    )


def _unseen(*tensors: Tensor) -> bool:
    """Whether nobody counts, intercepts or transforms what is computed of these tensors."""
    plain = all(type(t) in PLAIN for t in tensors)
    return plain and _get_current_dispatch_mode() is None and not torch._C._are_functorch_transforms_active()


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, *PLAINLY)


@functools.cache
def wider() -> bool:
    """Whether oneDNN multiplies fp32 with wider instructions than MKL does on this processor."""
    there = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    if not there or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        said = Path("/proc/cpuinfo").read_text()
    except OSError:  # not on Linux
        said = platform.processor()
    return whole_width(said)


def whole_width(processor: str) -> bool:
    """Whether this is an AMD processor that multiplies 512 bits at once, by what Linux (/proc/cpuinfo) or Windows says of it."""
    family = re.search(r"^cpu family\s*: (\d+)$|Family (\d+)", processor, re.M)
    return "AuthenticAMD" in processor and family is not None and int(family[1] or family[2]) >= ZEN_5


class _Context(Protocol):
    """What autograd hands to both passes."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiplied(x, weight, bias)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # of one output there is one gradient
        (x, weight), (grad,) = ctx.saved_tensors, grads
        rows, inputs = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        of_x, of_weight, of_bias = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a second derivative is asked for, which torch's own products have
            back, matrix = rows @ weight, rows.t() @ inputs
            return back.view_as(x), matrix, rows.sum(0) if of_bias else None
        return (
            input_gradient(rows, weight).view_as(x) if of_x else None,
            weight_gradient(rows, inputs) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )
