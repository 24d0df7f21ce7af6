"""RMSNorm: torch's kernel where that is fast; on CPUs an explicit forward and backward, which takes a third of the time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.functional import chosen

FEW = 2**16  # elements up to which torch's own kernel is faster on a CPU, where nothing is kept for a backward pass


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, computed in fp32, in x's dtype. ``weight`` broadcasts from the right; None: 1."""
    size = x.numel()
    few = type(size) is int and size <= FEW and not torch.is_grad_enabled()  # a program may be for all sizes, which is no int
    own = not few and x.device.type == "cpu" and not torch.compiler.is_compiling() and type(x) in (Tensor, FakeTensor)
    if chosen.heard is not None:
        chosen.tell("RMS norm", *_named(own, few))
    if own and type(x) is Tensor:  # of a fake one only the shape counts
        return _RMSNorm.apply(x, x.new_ones(x.shape[-1]) if weight is None else weight, eps)
    if weight is None:
        return F.rms_norm(x, (x.shape[-1],), None, eps)
    if weight.dim() == 1:
        return F.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), eps)
    return F.rms_norm(x, (x.shape[-1],), None, eps) * weight.to(x.dtype)


def _named(own: bool, few: bool) -> tuple[str, str]:
    if own:
        return "own forward and backward", "a third of the time of torch's on a CPU"
    return "torch", "few numbers, and nothing is kept for a backward pass" if few else "the device's own kernel"


def affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """y * weight + bias in ``dtype``, each only if it is given. Both broadcast from the right."""
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return y.to(dtype)


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The formula as written, in fp64."""
    y = x.double()
    return (y / (y.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    """Saves the input and one number per vector; three passes forward, five backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        # vector_norm accumulates in fp32 in one pass, without the squares in memory
        precise = torch.float64 if x.dtype == torch.float64 else torch.float32
        squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=precise).square_()
        inverse = (squares / x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        ctx.eps = eps
        return (x * inverse).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():  # with create_graph: what was saved as a number is a function of x again
            inverse = (x.to(inverse.dtype).square().mean(-1, keepdim=True) + ctx.eps).rsqrt()
        g = grads[0]
        y = x * inverse  # the normalised input, in fp32 at least
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (g * y).sum_to_size(weight.shape).to(weight.dtype)
        h = g * weight
        along = (h * y).mean(-1, keepdim=True)
        grad_x = torch.addcmul(h.to(y.dtype), y, along, value=-1).mul_(inverse)
        return grad_x.to(x.dtype), grad_weight, None
