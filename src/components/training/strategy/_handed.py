"""States that ranks hand on: what a recurrence leaves at the end of a rank's stretch goes to the next rank, and its gradient comes back.

A rank waits for the one before at each state; what does not depend on it is computed at once. In the backward pass states come in the opposite order, since
autograd takes what was computed last first.
"""

# ruff: noqa: ARG004  autograd's functions have fixed arguments
from __future__ import annotations

from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from components.functional.earlier import HandedOn

Value = Tensor | tuple[Tensor | None, ...]  # of a slot's state
Key = tuple[nn.Module, int, str]  # module, visit, name
Shape = tuple[torch.Size, torch.dtype] | None
Shapes = tuple[bool, tuple[Shape, ...]]  # whether it is a tuple, and what is in it
Known = set[tuple[object, ...]]


class Neighbours:
    """The ranks of a group in the order of their stretches, and which shapes they have told one another.

    Stretches are alike: what has passed once for rows of a shape has the same shapes ever after.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group, self.rank, self.size = group, dist.get_rank(group), dist.get_world_size(group)
        self.told: Known = set()
        self.heard: dict[tuple[object, ...], Shapes] = {}

    def send(self, x: Tensor, rank: int) -> None:
        dist.send(x.contiguous(), group=self.group, group_dst=rank)

    def receive(self, shape: torch.Size, dtype: torch.dtype, device: torch.device, rank: int) -> Tensor:
        x = torch.empty(shape, dtype=dtype, device=device)
        dist.recv(x, group=self.group, group_src=rank)
        return x


class Line:
    """The states of one step. ``tokens``: zeros that the loss must hold, so that gradients are waited for and sent.

    Args:
        neighbours: the ranks that have a stretch each.
        rows: what shapes depend on.
        device: of the states.
    """

    def __init__(self, neighbours: Neighbours, rows: tuple[object, ...], device: torch.device) -> None:
        self.neighbours, self.rows, self.device = neighbours, rows, device
        self.got: dict[Key, Value] = {}
        self.given: set[Key] = set()
        self.tokens: list[Tensor] = []
        self.anchor = torch.zeros(
            (), device=device, requires_grad=True
        )  # so that autograd knows what has no gradient of its own

    @property
    def first(self) -> bool:
        return self.neighbours.rank == 0

    def get(self, key: Key) -> Value:
        """What the rank before has left. A layer that is computed once more gets it as it was."""
        if key not in self.got:
            found = _Got.apply(self.anchor, self, self._heard(key))
            whole = iter(found)
            packed, shapes = self._heard(key)
            values = tuple(None if s is None else next(whole) for s in shapes)
            self.got[key] = values if packed else found[0]
            if any(x.requires_grad for x in found):
                self.tokens.append(_Zero.apply(*found))
        return self.got[key]

    def give(self, key: Key, value: Value) -> None:
        if key in self.given or self.neighbours.rank == self.neighbours.size - 1:
            return
        self.given.add(key)
        values = value if isinstance(value, tuple) else (value,)
        tensors = [x for x in values if x is not None]
        place = (*key, *self.rows)
        if place not in self.neighbours.told:
            shapes = tuple(None if x is None else (x.shape, x.dtype) for x in values)
            self.neighbours.told.add(place)
            said = [(key[-1], (isinstance(value, tuple), shapes))]
            dist.send_object_list(said, group=self.neighbours.group, group_dst=self.neighbours.rank + 1)
        token = _Given.apply(self.anchor, self, *tensors)
        if any(x.is_floating_point() for x in tensors):
            self.tokens.append(token)

    def _heard(self, key: Key) -> Shapes:
        place = (*key, *self.rows)
        if place not in self.neighbours.heard:
            said: list[tuple[str, Shapes]] = [("", (False, ()))]
            dist.recv_object_list(said, group=self.neighbours.group, group_src=self.neighbours.rank - 1)
            name, self.neighbours.heard[place] = said[0]
            if name != key[-1]:
                raise RuntimeError(f"{type(key[0]).__name__} reads {key[-1]!r} where it writes {name!r}: names have one order")
        return self.neighbours.heard[place]


class Handed(HandedOn):
    """One module's state: read, it is that of the rank before; written, it goes to the next."""

    def __init__(self, line: Line, module: nn.Module, visit: int) -> None:
        super().__init__()
        self.line, self.module, self.visit = line, module, visit

    def __contains__(self, name: object) -> bool:
        return not self.line.first

    def __getitem__(self, name: str) -> Value:
        return self.line.get((self.module, self.visit, name))

    def get(self, name: str, default: Value | None = None) -> Value | None:  # type: ignore[override]  # of one kind of value
        return default if self.line.first else self[name]

    def __setitem__(self, name: str, value: Value) -> None:
        self.line.give((self.module, self.visit, name), value)


class Context(Protocol):
    """What a function of autograd keeps for its backward pass."""

    line: Line
    shapes: list[tuple[torch.Size, torch.dtype]]
    floats: list[bool]

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


class _Got(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, anchor: Tensor, line: Line, shapes: Shapes) -> tuple[Tensor, ...]:
        ctx.line, (ranks, before) = line, (line.neighbours, line.neighbours.rank - 1)
        found = tuple(ranks.receive(*shape, line.device, before) for shape in shapes[1] if shape is not None)
        ctx.floats = [x.is_floating_point() for x in found]
        ctx.mark_non_differentiable(*(x for x in found if not x.is_floating_point()))
        return found

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> tuple[None, None, None]:  # type: ignore[override]  # torch's takes any gradients
        for grad, floats in zip(grads, ctx.floats, strict=True):
            if floats:
                ctx.line.neighbours.send(grad, ctx.line.neighbours.rank - 1)
        return None, None, None


class _Given(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, anchor: Tensor, line: Line, *tensors: Tensor) -> Tensor:
        ctx.line, ctx.shapes = line, [(x.shape, x.dtype) for x in tensors]
        for x in tensors:
            line.neighbours.send(x, line.neighbours.rank + 1)
        return anchor.new_zeros(())

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # torch's takes any gradients
        ranks, device = ctx.line.neighbours, ctx.line.device
        found = [ranks.receive(*shape, device, ranks.rank + 1) if shape[1].is_floating_point else None for shape in ctx.shapes]
        return None, None, *found


class _Zero(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, *tensors: Tensor) -> Tensor:
        ctx.shapes = [(x.shape, x.dtype) for x in tensors]
        return next(x for x in tensors if x.is_floating_point()).new_zeros(())

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[None, ...]:  # type: ignore[override]  # torch's takes any gradients
        return (None,) * len(ctx.shapes)
