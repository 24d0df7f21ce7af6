"""Clip gradients by total norm or by value: plain tensors, FSDP2 shards and tensor-parallel ones, also mixed.

Lightning's own clipping passes all of them to one foreach call, which refuses mixed meshes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from components.core.collectives import sum_within

Groups = dict[Any, list[Tensor]]  # tensors by the mesh on which they lie and where they are cut over it, None: they are whole


def _by_mesh(tensors: Iterable[Tensor | None]) -> Groups:
    found = [t for t in tensors if t is not None]
    if DTensor not in {*map(type, found)}:  # nearly always, and without a call for each
        return {None: found} if found else {}
    groups: Groups = defaultdict(list)
    for t in found:
        groups[_cut(t)].append(t)
    return groups


def _cut(grad: Tensor) -> tuple[DeviceMesh, tuple[int, ...]] | None:
    """The mesh, and those of its dimensions over which the gradient is cut into shards."""
    if not isinstance(grad, DTensor):
        return None
    return grad.device_mesh, tuple(n for n, place in enumerate(grad.placements) if not place.is_replicate())


def _square(grads: list[Tensor], cut: tuple[DeviceMesh, tuple[int, ...]] | None) -> Tensor:
    """The sum of all squares: that of this rank's shards, then over the ranks that have the others, one dimension of the mesh after the other."""
    total = torch.nn.utils.get_total_norm([g.to_local() if isinstance(g, DTensor) else g for g in grads], 2.0).square()
    if cut is not None:
        for dimension in cut[1]:
            total = sum_within(total, cut[0].get_group(dimension))
    return total


def _multiply(groups: Groups, factor: Tensor) -> None:
    for grads in groups.values():  # a foreach product of DTensors refuses mixed meshes as well, and has no public name
        here = [g.to_local() if isinstance(g, DTensor) else g for g in grads]
        torch._foreach_mul_(here, factor)  # pyright: ignore[reportPrivateImportUsage]


@torch.no_grad()
def multiply_gradients(parameters: Iterable[nn.Parameter], factor: Tensor) -> None:
    """Multiply all gradients by one number, which stays on its device."""
    _multiply(_by_mesh(p.grad for p in parameters), factor)


@torch.no_grad()
def total_norm(tensors: Iterable[Tensor | None]) -> Tensor | None:
    """The 2-norm of all of them together, over all shards, the same on all ranks; all ranks call it. None if there are none."""
    return _norm(_by_mesh(tensors))


def _norm(groups: Groups) -> Tensor | None:
    squares = [_square(grads, cut) for cut, grads in groups.items()]
    if not squares:
        return None
    return (squares[0] if len(squares) == 1 else torch.stack(squares).sum()).sqrt()


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor | None:
    """Scale all gradients so that their total 2-norm is at most ``limit``. Returns the norm before that, or None without gradients."""
    groups = _by_mesh([p.grad for p in parameters])
    total = _norm(groups)
    if total is not None:
        _multiply(groups, (limit / (total + 1e-6)).clamp(max=1.0))
    return total


@torch.no_grad()
def clip_values(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Clamp every element of every gradient to [-limit, limit]. Each shard does this by itself."""
    for p in parameters:
        if p.grad is not None:
            (p.grad.to_local() if isinstance(p.grad, DTensor) else p.grad).clamp_(-limit, limit)
