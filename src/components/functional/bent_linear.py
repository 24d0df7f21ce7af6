"""The second half of a feed-forward layer: what is bent goes through a linear map, and only what came before the bend is kept for the backward pass.

A plain layer keeps both sides of its activation, which are its largest tensors. The bend is cheap beside the product, so it is taken once more instead: of a
GPT-2 layer that saves a fifth of what it keeps, for 3 % of the time of a training step on a CPU. Chen et al. 2016, arXiv:1604.06174, section 4.2
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from components.functional import chosen
from components.functional.bends import Bend, write, written
from components.functional.decode_products import LAID_OUT, plain
from components.functional.linear import input_gradient, product, weight_gradient

# From so many channels on: narrower layers keep little, and what is done besides the products weighs more. (By the width and not by the rows, so that what
# long rows keep can be told from short ones.)
WIDTH = 1024
AT_ONCE = 1 << 20  # numbers of what is bent: few enough for the cache, enough for the products


def bent_linear(bend: Bend, parts: tuple[Tensor, ...], out: nn.Module) -> Tensor:
    """``out(bend(*parts))``. parts (..., F) -> (..., D).

    While gradients are recorded, ``bend`` is taken again in the backward pass where ``out`` is a plain ``nn.Linear``. A second derivative is refused then.
    """
    x = parts[0]
    again = (
        torch.is_grad_enabled()
        and not torch.compiler.is_compiling()  # which chooses by itself what it keeps
        and x.shape[-1] >= WIDTH
        and plain(out, LAID_OUT)
        and out.weight.requires_grad  # else a linear map keeps nothing of its input
        and any(p.requires_grad for p in parts)
    )
    if chosen.heard is not None:
        why = (
            f"{WIDTH} channels or more: memory for 3 % of the time"
            if again
            else "narrow, no gradients, or a map that is not plain"
        )
        chosen.tell("bend", "taken again backwards" if again else "kept", why)
    if not again or any(p.dtype != _product_dtype(x) for p in parts):
        return out(bend(*parts))
    assert isinstance(out, nn.Linear)
    flat = [p.reshape(-1, p.shape[-1]) for p in parts]
    return _BentLinear.apply(bend, out.weight, out.bias, *flat).view(*x.shape[:-1], out.out_features)


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
        dtype = parts[0].dtype
        bent = bend(*parts).to(dtype)  # autocast computes some functions in fp32
        return product(bent, weight.to(dtype), None if bias is None else bias.to(dtype))

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # of one output there is one gradient
        if torch.is_grad_enabled():  # once_differentiable would be silent where torch.autograd.grad finds another path
            raise RuntimeError("a feed-forward layer that takes its bend again has no second derivative")
        (weight, *parts), grad = ctx.saved_tensors, grads[0]
        wanted = ctx.needs_input_grad[3:]
        # the weight is cast again, which is cheaper than keeping a copy of each matrix
        bent, back = torch.empty_like(parts[0]), input_gradient(grad, weight.to(grad.dtype))
        found = [torch.empty_like(p) if asked else None for p, asked in zip(parts, wanted, strict=True)]
        found[wanted.index(True)] = back  # its rows are read before they are written
        whole = [f for f in found if f is not None]
        at_once = len(whole) == len(parts) and written(ctx.bend)
        for rows in _some_rows(bent):
            if at_once:
                write(ctx.bend, [p[rows] for p in parts], back[rows], bent[rows], [f[rows] for f in whole])
                continue
            some = [p[rows].detach().requires_grad_(asked) for p, asked in zip(parts, wanted, strict=True)]
            with torch.enable_grad():
                y = ctx.bend(*some)
            bent[rows] = y.detach()
            of_rows = torch.autograd.grad(y, [s for s in some if s.requires_grad], back[rows].to(y.dtype))
            for f, part in zip(whole, of_rows, strict=True):
                f[rows] = part
        return (
            None,
            weight_gradient(grad, bent).to(weight.dtype),
            grad.sum(0).to(weight.dtype) if ctx.has_bias else None,
            *found,
        )


def _some_rows(x: Tensor) -> Iterator[slice]:
    """Of fake tensors the first two and the last: no numbers are missed, and the most that is held at once is there in the second."""
    count = max(1, AT_ONCE // x.shape[1])
    firsts = range(0, x.shape[0], count)
    for first in (*firsts[:2], *firsts[2:][-1:]) if isinstance(x, FakeTensor) else firsts:
        yield slice(first, first + count)
