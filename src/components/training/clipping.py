"""Clip gradients by total norm or by value: plain tensors, FSDP2 shards and tensor-parallel ones, also mixed.

Lightning's own clipping passes all of them to one foreach call, which refuses mixed meshes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

Groups = dict[Any, list[Tensor]]  # gradients by the mesh on which they lie, None: they are whole


def _by_mesh(tensors: Iterable[Tensor | None]) -> Groups:
    groups: Groups = defaultdict(list)
    for t in tensors:
        if t is not None:
            groups[t.device_mesh if isinstance(t, DTensor) else None].append(t)
    return groups


def _multiply(groups: Groups, factor: Tensor) -> None:
    if set(groups) == {None}:
        torch._foreach_mul_(groups[None], factor)  # pyright: ignore[reportPrivateImportUsage]  # torch has no public name for it
        return
    for grads in groups.values():  # a foreach product refuses mixed meshes as well
        for grad in grads:
            local = grad.to_local() if isinstance(grad, DTensor) else grad
            local.mul_(factor)


@torch.no_grad()
def multiply_gradients(parameters: Iterable[nn.Parameter], factor: Tensor) -> None:
    """Multiply all gradients by one number, which stays on its device."""
    _multiply(_by_mesh(p.grad for p in parameters), factor)


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor | None:
    """Scale all gradients so that their total 2-norm is at most ``limit``. Returns the norm before that, or None without gradients."""
    groups = _by_mesh(p.grad for p in parameters)
    if (total := _norm(groups)) is not None:
        _multiply(groups, (limit / (total + 1e-6)).clamp(max=1.0))
    return total


@torch.no_grad()
def total_norm(tensors: Iterable[Tensor | None]) -> Tensor | None:
    """The 2-norm of all of them together, over all shards; all ranks call it. None if there are none."""
    return _norm(_by_mesh(tensors))


def _norm(groups: Groups) -> Tensor | None:
    if not groups:
        return None
    norms = []
    for tensors in groups.values():
        norm = torch.nn.utils.get_total_norm(tensors, 2.0)
        norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))


@torch.no_grad()
def clip_values(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Clamp every element of every gradient to [-limit, limit]. Each shard does this by itself."""
    for p in parameters:
        if p.grad is not None:
            (p.grad.to_local() if isinstance(p.grad, DTensor) else p.grad).clamp_(-limit, limit)
