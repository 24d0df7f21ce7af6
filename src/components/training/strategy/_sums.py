"""Sums over the ranks that hold one layer together, as autograd knows them.

What every rank of the group has alike goes into a piece by ``entered`` and comes out by ``added``. Shoeybi et al. 2019 (Megatron-LM), arXiv:1909.08053,
section 3, where these are f and g.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from components.core.collectives import side_by_side, sum_within

Group = dist.ProcessGroup
_reduce_scatter = vars(dist).get("reduce_scatter_single", dist.reduce_scatter_tensor)  # newer torches warn of the older name


class Context(Protocol):
    """What a function of autograd keeps for its backward pass."""

    group: Group
    size: int
    rank: int
    width: int


def entered(x: Tensor, group: Group) -> Tensor:
    """``x`` as a piece reads it: its gradient is the sum of those that the pieces give."""
    return _Entered.apply(x, group) if x.requires_grad and torch.is_grad_enabled() else x


def added(y: Tensor, group: Group) -> Tensor:
    """The sum of what the pieces give: each of them gets the whole gradient."""
    return _Added.apply(y, group)


def joined(y: Tensor, group: Group) -> Tensor:
    """The pieces side by side along the last axis, in the order of the ranks: each gets its part of the gradient."""
    return _Joined.apply(y, group)


def gathered(x: Tensor, group: Group) -> Tensor:
    """(B, H, T, K) of this rank after those of the ranks before it, (B, H, ranks * T, K): the gradient is the sum of those that all ranks give."""
    return _Gathered.apply(x, group)


def spread(x: Tensor, group: Group) -> Tensor:
    """Positions of all ranks, (B, ranks * T, ...) of (B, T, ...), as a piece reads them: the gradient is this rank's part of the pieces' sum."""
    return _Spread.apply(x, group)


def scattered(y: Tensor, group: Group) -> Tensor:
    """This rank's positions of the sum of what the pieces give: each of them gets the whole gradient."""
    return _Scattered.apply(y, group)


def rejoined(x: Tensor, group: Group) -> Tensor:
    """Positions of all ranks, for what all ranks compute alike: each rank has the gradient of its own."""
    return _Rejoined.apply(x, group)


def parted(x: Tensor, group: Group) -> Tensor:
    """This rank's positions of what all ranks have alike: each gets the gradient of all positions."""
    return _Parted.apply(x, group)


def own(x: Tensor, group: Group) -> Tensor:
    """This rank's positions of what it has computed of all: the gradient of the others' is zero here."""
    return x.narrow(1, *_place(x, group))


def once(x: Tensor, group: Group) -> Tensor:
    """``x`` in the first piece and zeros in the others, so that it is once in their sum: its gradient is whole on each rank."""
    return _Once.apply(x, group)


def shared(x: Tensor, group: Group) -> Tensor:
    """``x``, which every piece has computed alike: each rank gets an equal share of the gradient."""
    return _Shared.apply(x, group) if x.requires_grad and torch.is_grad_enabled() else x


class _Entered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch's takes any gradients
        return sum_within(grad, ctx.group), None


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, y: Tensor, group: Group) -> Tensor:  # noqa: ARG004
        return sum_within(y, group)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # noqa: ARG004  # torch's takes any gradients
        return grad, None


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, y: Tensor, group: Group) -> Tensor:
        ctx.width, ctx.rank = y.shape[-1], dist.get_rank(group)
        return side_by_side(y, group)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch's takes any gradients
        return grad.narrow(-1, ctx.rank * ctx.width, ctx.width), None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, group: Group) -> Tensor:
        ctx.group, ctx.rank, ctx.width, ctx.size = group, dist.get_rank(group), x.shape[2], dist.get_world_size(group)
        return side_by_side(x, group, 2)[:, :, : (ctx.rank + 1) * ctx.width]

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch's takes any gradients
        later = (ctx.size - ctx.rank - 1) * ctx.width
        total = sum_within(torch.nn.functional.pad(grad, (0, 0, 0, later)), ctx.group)
        return total.narrow(2, ctx.rank * ctx.width, ctx.width), None


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, group: Group) -> Tensor:  # noqa: ARG004
        return x.view_as(x) if dist.get_rank(group) == 0 else torch.zeros_like(x)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # noqa: ARG004  # torch's takes any gradients
        return grad, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, group: Group) -> Tensor:
        ctx.size = dist.get_world_size(group)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch's takes any gradients
        return grad / ctx.size, None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return side_by_side(x, group, 1)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch's takes any gradients
        return own_sum(grad, ctx.group), None


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, y: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return own_sum(y, group)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch's takes any gradients
        return side_by_side(grad, ctx.group, 1), None


class _Rejoined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return side_by_side(x, group, 1)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch's takes any gradients
        return own(grad, ctx.group).contiguous(), None


class _Parted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return own(x, group).contiguous()

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # torch's takes any gradients
        return side_by_side(grad, ctx.group, 1), None


def _place(x: Tensor, group: Group) -> tuple[int, int]:
    """(first position of this rank, how many)."""
    count = x.shape[1] // dist.get_world_size(group)
    return dist.get_rank(group) * count, count


def own_sum(value: Tensor, group: Group) -> Tensor:
    """The sum of ``value`` (B, ranks * T, ...) over the ranks of ``group``, and of it the T positions of this rank."""
    apart = value.unflatten(1, (dist.get_world_size(group), -1)).movedim(1, 0).flatten(0, 1).contiguous()
    total = torch.empty_like(apart[: value.shape[0]])
    _reduce_scatter(total, apart, group=group)
    return total
