"""Bytes of parameters, gradients and optimizer state that a rank holds: exact, from shapes alone.

The optimizer's are found by the optimizer itself: it takes steps over one weight of each kind on the meta device, laid out over a group of processes that
is not there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from components.core.config_types import Config
from components.core.errors import UserError
from components.core.makers import ScopedMaker, make, part_values
from components.core.weights import Weight
from components.functional.quantised_tensor import Quantised, bytes_of
from components.parts.optimizer._spread import compute_once, keeps_on_owners
from components.training.estimate.layouts import Layout


@dataclass(frozen=True)
class State:
    """Bytes on one rank, of what stays from step to step: the tensors' own, without padding."""

    parameters: int
    gradients: int
    optimizer: int
    buffers: int

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.buffers


@dataclass(frozen=True)
class Piece:
    """A weight as one rank holds it. Weights with equal pieces have equal state."""

    shape: tuple[int, ...]
    local: tuple[int, ...]
    cut: int | None
    role: str
    in_linear: bool
    trained: bool
    rates: tuple[float, float]
    kept: int | None  # bytes of a frozen matrix in few bits, which every rank has whole

    @property
    def elements(self) -> int:
        return torch.Size(self.local).numel()


def pieces(weights: Sequence[Weight], layout: Layout, cut: Mapping[int, int], rank: int = 0) -> dict[Piece, list[Weight]]:
    """{piece: the weights of which rank ``rank`` holds such a one}.

    Args:
        weights: all of a model on the meta device, with the rates that the tuning gives them.
        layout: over which devices.
        cut: {id of a weight: the dimension that devices which hold a layer together share}.
        rank: whose pieces.
    """
    found: dict[Piece, list[Weight]] = {}
    for w in weights:
        p, dim = w.parameter, cut.get(id(w.parameter))
        shape = tuple(p.shape)
        piece = Piece(
            shape,
            layout.local(shape, dim, rank),
            dim,
            w.role,
            isinstance(w.module, nn.Linear),
            p.requires_grad and w.rate != 0.0,
            (w.lr_scale, w.rate),
            bytes_of(p) if isinstance(p, Quantised) else None,
        )
        found.setdefault(piece, []).append(w)
    return found


def state_of(
    weights: Sequence[Weight], buffers: int, optimizer: Config, layout: Layout, cut: Mapping[int, int], rank: int = 0
) -> State:
    """What ``rank`` holds between steps.

    Args:
        weights, layout, cut, rank: as ``pieces`` takes them.
        buffers: bytes of the model's buffers, which every rank has whole.
        optimizer: its node in the config.

    Raises:
        UserError: the optimizer reads numbers in its step, so that shapes alone do not tell its state.
    """
    size, found = layout.stored.itemsize, pieces(weights, layout, cut, rank)
    parameters = sum((p.elements * size if p.kept is None else p.kept) * len(of) for p, of in found.items())
    trained = sum(p.elements * len(of) for p, of in found.items() if p.trained)
    states = optimizer_bytes(found, optimizer, layout, rank)
    return State(parameters, trained * size, sum(states.values()), buffers)


def optimizer_bytes(
    found: Mapping[Piece, Sequence[Weight]], optimizer: Config, layout: Layout, rank: int = 0
) -> Counter[Piece]:
    """{piece: bytes of the state that the optimizer keeps for all weights with this piece}, scalars such as counts of steps included."""
    node = without_watchers(optimizer)
    with meshed(layout, rank) as mesh:

        def held(some: list[tuple[Piece, Weight]]) -> tuple[Optimizer, list[int]]:
            stand_ins = [_stand_in(piece, w, layout, mesh) for piece, w in some]
            made = make(ScopedMaker(node, where="optimizer"), "optimizer", weights=stand_ins)
            if layout.ranks > 1 and mesh is None:
                compute_once(made)
            try:
                for _ in range(2):  # what a first step only sets up, a second completes
                    made.step()
            except (RuntimeError, NotImplementedError) as e:  # what torch raises where a step reads numbers that are not there
                name = node.get("name")
                what = f"{name}'s step cannot be taken on shapes alone: {e}"
                raise UserError("optimizer", what, "plan with another that keeps as much, such as adamw") from e
            return made, [_size(made.state.get(w.parameter, {})) for w in stand_ins]

        trained = {piece: of for piece, of in found.items() if piece.trained}
        made, sizes = held([(piece, of[0]) for piece, of in trained.items()])
        if not keeps_on_owners(made):
            return Counter({piece: size * len(of) for (piece, of), size in zip(trained.items(), sizes)})
        each = [(piece, w) for piece, of in trained.items() for w in of]
        each.sort(key=lambda pair: -1 if pair[1].layer is None else pair[1].layer)  # owners of equal ones go by their order
        states: Counter[Piece] = Counter()
        for (piece, _), size in zip(each, held(each)[1]):
            states[piece] += size
        return states


def without_watchers(optimizer: Config) -> Config:
    """The node of the optimizer inside of those that keep no tensor for a weight and look at numbers: ``skip_step``."""
    node = optimizer
    while node.get("name") == "skip_step":
        inner = part_values("optimizer", node)["inner"]
        node = inner if isinstance(inner, dict) else {"name": inner}
    return node


def _stand_in(piece: Piece, weight: Weight, layout: Layout, mesh: DeviceMesh | None) -> Weight:
    """A weight on the meta device with a gradient, of the piece's shapes and in its layout."""
    local = torch.empty(piece.local, dtype=layout.stored, device="meta")
    value: Tensor = local
    if mesh is not None:
        whole = torch.empty(piece.shape, device="meta")
        value = DTensor.from_local(
            local, mesh, layout.placements(piece.cut), run_check=False, shape=whole.shape, stride=whole.stride()
        )
    parameter = nn.Parameter(value)
    parameter.grad = torch.zeros_like(parameter)
    return replace(weight, parameter=parameter)


def _size(state: Mapping[str, object]) -> int:
    local = (v.to_local() if isinstance(v, DTensor) else v for v in state.values() if isinstance(v, Tensor))
    return sum(t.numel() * t.element_size() for t in local)


@contextmanager
def meshed(layout: Layout, rank: int = 0) -> Iterator[DeviceMesh | None]:
    """A group of all devices, of which this is ``rank`` and none is there: collectives do nothing. In it the mesh of the layout, if that has one.

    Raises:
        UserError: this process is one of a real group.
    """
    from torch.testing._internal.distributed.fake_pg import FakeStore  # registers torch's backend that sends nothing

    if layout.ranks == 1:
        yield None
        return
    if dist.is_initialized():
        raise UserError("plan", "this process belongs to a group of processes", "plan in a process of its own")
    sizes = {axis: getattr(layout, axis) for axis in layout.axes}
    logger = logging.getLogger("torch.distributed.tensor._redistribute")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of meshes of two dimensions
    dist.init_process_group("fake", rank=rank, world_size=layout.ranks, store=FakeStore())
    try:
        yield init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=tuple(sizes)) if sizes else None
    finally:
        dist.destroy_process_group()
        logger.setLevel(level)
