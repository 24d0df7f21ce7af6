"""A model that a group of ranks holds and computes together: each weight is a DTensor over the group, each part reads the piece of this rank.

The unit in which DTensors give way to this rank's pieces is a block, the embedding, the head, and the model for what is left. It is a hook inside of what
activation checkpointing computes again, so that the second time is as the first.
"""

# ruff: noqa: ARG002  torch's hooks have fixed arguments
from __future__ import annotations

from collections.abc import Callable

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor

from components.core.abilities import KnowsPiece
from components.core.sockets import Layer
from components.core.traits import asked_of, embeds
from components.parts.attention._positioned import Positioned
from components.training.strategy._pieces import Pieces, pieces_of
from components.training.strategy._positions import branches, parts_of, stacks
from components.training.strategy._regions import Logits, Parting, Region, Whole
from components.training.strategy._sent import Sent
from components.training.strategy._sums import added, entered, once


def hold_together(
    model: nn.Module, mesh: DeviceMesh, *, expert_parallel: bool = False, sequence_parallel: bool = False
) -> Pieces:
    """Cut the model's weights over the ranks of ``mesh``, and let its parts compute their pieces. What it gives stays the same.

    Args:
        model: to cut, in place.
        mesh: of one dimension.
        expert_parallel: experts are dealt out, and not cut.
        sequence_parallel: between the pieces each rank has some of the positions.

    Raises:
        UserError: a part cannot be cut into so many pieces, or experts cannot be dealt out, or positions.
    """
    pieces = pieces_of(model, mesh.size(), expert_parallel=expert_parallel, sequence_parallel=sequence_parallel)
    lay_out(model, mesh, pieces)
    if sequence_parallel:
        for stack in stacks(model):
            Parting(stack, mesh.get_group())
        for part in {*branches(model)}.difference(pieces.summed.values()):
            Whole(part, mesh.get_group())
    return pieces


def lay_out(model: nn.Module, mesh: DeviceMesh, pieces: Pieces) -> None:
    """Hold the model together in these pieces."""
    group = mesh.get_group()
    read = _distributed(model, mesh, pieces)
    for unit in units(model):
        Unit(unit, group, read)
    for module in pieces.summed.values():
        (Sent if module in pieces.sent else Region)(module, group)
        for m in module.modules():
            if isinstance(m, KnowsPiece):
                m.piece = mesh.get_local_rank()
    for module in pieces.joined.values():
        Logits(module, group)
    for table in pieces.looked_up.values():
        Table(table, group)


Read = dict[tuple[int, str], Callable[[Tensor], Tensor]]  # {(id of a module, name): how its piece is read}


def _distributed(model: nn.Module, mesh: DeviceMesh, pieces: Pieces) -> Read:
    """Put a DTensor in the place of each parameter, the same for those that are tied."""
    made: dict[int, nn.Parameter] = {}
    read: Read = {}
    group = mesh.get_group()
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            if id(p) not in made:
                dim = pieces.cut.get(id(p))
                place: Placement = Replicate() if dim is None else Shard(dim)
                made[id(p)] = nn.Parameter(
                    distribute_tensor(p.detach(), mesh, [place], src_data_rank=None), requires_grad=p.requires_grad
                )
            if id(p) in pieces.within:
                read[id(module), name] = lambda x: entered(x, group)
            elif id(p) in pieces.once:
                read[id(module), name] = lambda x: once(x, group)
            setattr(module, name, made[id(p)])
    return read


def reached(module: nn.Module) -> list[nn.Module]:
    """It, what is inside, and what these read and do not own: a tied head reads an embedding, and that perhaps another model's table."""
    inside = list(module.modules())
    return inside + [m for one in inside for held in vars(one).values() if isinstance(held, nn.Module) for m in reached(held)]


def units(model: nn.Module) -> list[list[nn.Module]]:
    """Modules whose weights give way together; the first of each list is that whose call begins and ends it."""
    inner = [m.block for m in model.modules() if isinstance(m, Layer)]
    models = dict.fromkeys((model, asked_of(model)))  # a model beside another reads and writes tokens too
    inner += [m for one in models for name, m in one.named_children() if name in ("embedding", "head")]
    found: list[list[nn.Module]] = []
    seen: set[nn.Module] = set()
    for unit in inner:
        members = list(unit.modules())
        for m in members.copy():  # what a part reads and does not own: a shared position, a tied table
            if isinstance(m, Positioned):
                members += m.position.modules()
                seen.update(() if embeds(m.position) else m.position.modules())  # else the model reads it too
            members += [inside for held in vars(m).values() if isinstance(held, nn.Module) for inside in reached(held)]
        found.append(members)
        seen.update(unit.modules())
    for stack in stacks(model):  # what it applies outside of its layers; ``enter`` is called by the model
        entering = {*stack.positions.modules(), *stack.embedding_norm.modules()}
        found.append([stack, *(m for m in stack.modules() if m is not stack and m not in seen and m not in entering)])
        seen.update(found[-1])
    return [*found, [model, *(m for m in model.modules() if m is not model and m not in seen)]]


class Unit:
    """Hooks around the first of some modules: while it runs, all of them have plain tensors, the pieces of this rank."""

    def __init__(self, members: list[nn.Module], group: dist.ProcessGroup, read: Read) -> None:
        self.held = [(m, name) for m in dict.fromkeys(members) for name in m._parameters]
        self.group, self.read = group, read
        self.put_back: list[tuple[nn.Module, str, DTensor]] = []
        members[0].register_forward_pre_hook(self.before)
        members[0].register_forward_hook(self.after, always_call=True)

    def before(self, module: nn.Module, args: tuple[object, ...]) -> None:
        for m, name in self.held:
            p = m._parameters[name]
            if isinstance(p, DTensor):
                self.put_back.append((m, name, p))
                local = p.to_local()
                how = self.read.get((id(m), name))
                if how is None and isinstance(p.placements[0], Replicate) and parts_of(args, self.group):
                    how = self.of_all
                m._parameters[name] = how(local) if how is not None else local  # type: ignore[assignment]  # for as long as the call lasts

    def of_all(self, x: Tensor) -> Tensor:
        """A whole weight that each rank applies to its own positions."""
        return entered(x, self.group)

    def after(self, module: nn.Module, args: object, output: object) -> None:
        for m, name, p in self.put_back:
            m._parameters[name] = p  # type: ignore[assignment]  # it was a parameter
        self.put_back.clear()


class Table:
    """Hooks around an ``nn.Embedding`` of which each rank has some of the rows: the others' are 0, and the sum over ranks is what was asked for."""

    def __init__(self, table: nn.Embedding, group: dist.ProcessGroup) -> None:
        self.group, self.absent = group, []
        rows = table.num_embeddings // dist.get_world_size(group)
        self.first, self.rows = rows * dist.get_rank(group), rows
        table.register_forward_pre_hook(self.before)
        table.register_forward_hook(self.after)

    def before(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        ids = args[0] - self.first
        absent = (ids < 0) | (ids >= self.rows)
        self.absent.append(absent)
        return (ids.masked_fill(absent, 0),)

    def after(self, module: nn.Module, args: object, output: Tensor) -> Tensor:
        return added(output.masked_fill(self.absent.pop()[..., None], 0.0), self.group)
