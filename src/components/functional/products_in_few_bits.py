"""x Wᵀ + b by a matrix in few bits: it is whole for the product, forward and again backward, and not in between.

A compiled program would see that both make the same matrix, and keep it from the one to the other. There each is an operation that it does not look into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from components.functional import linear
from components.functional.block_quantisation import FORMATS, Bits, Pieces


def product(x: Tensor, pieces: Pieces, bias: Tensor | None, bits: Bits) -> Tensor:
    """(..., in) -> (..., out) in the dtype of x. x and the bias get gradients, the matrix none.

    Args:
        x: (..., in).
        pieces: of the matrix (out, in), by name.
        bias: (out,), in the dtype of x.
        bits: how the matrix is kept.
    """
    run = cast(Callable[..., Tensor], unseen if torch.compiler.is_compiling() else _Product.apply)
    return run(x, bias, bits, [pieces[name] for name in FORMATS[bits].pieces])


class Held(Protocol):
    """What a product keeps for its backward pass: the pieces, which are there anyway."""

    bits: str
    pieces: list[Tensor]
    needs_input_grad: tuple[bool, ...]


def forward(x: Tensor, bias: Tensor | None, bits: str, pieces: list[Tensor]) -> Tensor:
    return linear.product(x, _matrix(bits, pieces, x.dtype), bias)


def of_input(grad: Tensor, bits: str, pieces: list[Tensor]) -> Tensor:
    """The gradient of x."""
    return linear.input_gradient(grad, _matrix(bits, pieces, grad.dtype))


def _matrix(bits: str, pieces: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    kept = FORMATS[cast(Bits, bits)]
    return kept.unpack(dict(zip(kept.pieces, pieces, strict=True))).to(dtype)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Held, x: Tensor, bias: Tensor | None, bits: str, pieces: list[Tensor]) -> Tensor:
        ctx.bits, ctx.pieces = bits, pieces
        return forward(x, bias, bits, pieces)

    @staticmethod
    def backward(ctx: Held, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (grad,), (of_x, of_bias, *_) = grads, ctx.needs_input_grad
        return (
            of_input(grad, ctx.bits, ctx.pieces) if of_x else None,
            grad.flatten(0, -2).sum(0) if of_bias else None,
            None,
            None,
        )


# the same two, as operations of their own
unseen = torch.library.custom_op("components::linear_in_few_bits", forward, mutates_args=())
unseen_of_input = torch.library.custom_op("components::linear_in_few_bits_of_input", of_input, mutates_args=())
unseen.register_fake(forward)
unseen_of_input.register_fake(of_input)


def _keep(ctx: Held, inputs: tuple[Tensor, Tensor | None, str, list[Tensor]], output: Tensor) -> None:
    del output
    _, _, ctx.bits, ctx.pieces = inputs


def _backward(ctx: Held, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, list[None]]:
    of_x, of_bias, *_ = ctx.needs_input_grad
    return (
        unseen_of_input(grad.contiguous(), ctx.bits, ctx.pieces) if of_x else None,
        grad.flatten(0, -2).sum(0) if of_bias else None,
        None,
        [None] * len(ctx.pieces),
    )


unseen.register_autograd(_backward, setup_context=_keep)
