"""Computes several linear maps of one input as one product. The maps stay separate modules; only the kernel joins them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.function import once_differentiable

from components.functional import chosen
from components.functional.decode_products import LAID_OUT, in_form, plain
from components.functional.linear import input_gradient, product, weight_gradient

# The number of rows from which joining pays off on a CPU. For few rows, as in decoding, copying the weights costs more than the
# product.
ROWS = 1024


def joint_linear(x: Tensor, maps: Sequence[nn.Module]) -> list[Tensor]:
    """``[m(x) for m in maps]``; one product where the maps are plain ``nn.Linear``s and it is faster. x (B, T, D)."""
    if (laid := in_form(x, maps)) is not None:
        return [*laid]
    linear = [m for m in maps if plain(m, LAID_OUT)]
    biases: list[Tensor] = [m.bias for m in linear if m.bias is not None]
    joined = (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()  # asked before the size: a program may be for all sizes
        and x.numel() >= ROWS * x.shape[-1]
        and len(linear) == len(maps)
        and len(biases) in (0, len(maps))
    )
    if chosen.heard is not None:
        why = (
            f"on a CPU with {ROWS} rows or more the copy pays"
            if joined
            else "few rows, another device, or maps that are not plain"
        )
        chosen.tell("maps of one input", "one product" if joined else "one product each", why)
    if not joined or isinstance(x, FakeTensor):  # of fake ones only the shapes count
        return [m(x) for m in maps]
    bias = torch.cat(biases) if biases else None
    return [
        y.view(*x.shape[:-1], y.shape[-1]) for y in _Joint.apply(x.reshape(-1, x.shape[-1]), bias, *(m.weight for m in linear))
    ]


class _Joint(torch.autograd.Function):
    """One product forward; backward adds the maps' gradients of x up within the products, instead of in passes and memory of their own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, *weights)
        ctx.has_bias = bias is not None
        y = product(x, torch.cat(weights).to(x.dtype), None if bias is None else bias.to(x.dtype))
        return y.split([w.shape[0] for w in weights], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # the decorator hides the signature
        x, *held = ctx.saved_tensors
        weights = [w.to(x.dtype) for w in held]  # cast again, which is cheaper than keeping a copy of each matrix
        grad_x = input_gradient(grads[0], weights[0])
        for grad, weight in zip(grads[1:], weights[1:], strict=True):
            grad_x = input_gradient(grad, weight, onto=grad_x)
        grad_bias = torch.cat([g.sum(0) for g in grads]).to(held[0].dtype) if ctx.has_bias else None
        return grad_x, grad_bias, *(weight_gradient(g, x).to(w.dtype) for g, w in zip(grads, held, strict=True))
