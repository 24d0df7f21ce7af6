"""The second half of a feed-forward layer: what is bent goes through a linear map, and only what came before the bend is kept for the backward pass.

A plain layer keeps both sides of its activation, which are its largest tensors. The bend is cheap beside the product, so it is taken once more instead: of a
GPT-2 layer that saves a fifth of what it keeps, for 1 % of the time. Chen et al. 2016, arXiv:1604.06174, section 4.2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from components.functional import chosen
from components.functional.decode_products import LAID_OUT, plain

ROWS = 1024  # from so many rows on: what fewer keep is little
Bend = Callable[..., Tensor]  # takes tensors of one shape, position by position, and has no weights of its own


def bent_linear(bend: Bend, parts: tuple[Tensor, ...], out: nn.Module) -> Tensor:
    """``out(bend(*parts))``. parts (..., F) -> (..., D).

    While gradients are recorded, ``bend`` is taken again in the backward pass where ``out`` is a plain ``nn.Linear``. A second derivative is refused then.
    """
    x = parts[0]
    again = (
        torch.is_grad_enabled()
        and not torch.compiler.is_compiling()  # which chooses by itself what it keeps
        and x.numel() >= ROWS * x.shape[-1]
        and plain(out, LAID_OUT)
        and "forward" not in vars(out)
        and out.weight.requires_grad  # else a linear map keeps nothing of its input
        and any(p.requires_grad for p in parts)
    )
    if chosen.heard is not None:
        why = (
            f"{ROWS} rows or more: memory for 1 % of the time"
            if again
            else "few rows, no gradients, or a map that is not plain"
        )
        chosen.tell("bend", "taken again backwards" if again else "kept", why)
    dtype = _product_dtype(x)
    if not again or any(p.dtype != dtype for p in parts):
        return out(bend(*parts))
    assert isinstance(out, nn.Linear)
    bias = None if out.bias is None else out.bias.to(dtype)
    flat = [p.reshape(-1, p.shape[-1]) for p in parts]
    return _BentLinear.apply(bend, out.weight.to(dtype), bias, *flat).view(*x.shape[:-1], -1)


def _product_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    mixed = kind != "meta" and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if mixed else x.dtype


class _Context(Protocol):
    """What autograd hands to both passes, and what the forward pass leaves there."""

    bend: Bend
    has_bias: bool
    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _BentLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, bend: Bend, weight: Tensor, bias: Tensor | None, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *parts)
        ctx.bend, ctx.has_bias = bend, bias is not None
        bent = bend(*parts).to(weight.dtype)  # autocast computes some functions in fp32
        return bent @ weight.t() if bias is None else torch.addmm(bias, bent, weight.t())

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # of one output there is one gradient
        if torch.is_grad_enabled():  # once_differentiable would be silent where torch.autograd.grad finds another path
            raise RuntimeError("a feed-forward layer that takes its bend again has no second derivative")
        (weight, *kept), grad = ctx.saved_tensors, grads[0]
        parts = [p.detach().requires_grad_(needed) for p, needed in zip(kept, ctx.needs_input_grad[3:], strict=True)]
        with torch.enable_grad():
            bent = ctx.bend(*parts)
        grad_weight = grad.t() @ bent.detach().to(weight.dtype)
        wanted = [p for p in parts if p.requires_grad]
        found = iter(torch.autograd.grad(bent, wanted, (grad @ weight).to(bent.dtype)))
        grad_bias = grad.sum(0) if ctx.has_bias else None
        return None, grad_weight, grad_bias, *(next(found) if p.requires_grad else None for p in parts)
