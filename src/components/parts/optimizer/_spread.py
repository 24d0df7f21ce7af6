"""Steps that need whole matrices, spread over the ranks: each matrix is whole on one of them, which computes its update.

Ranks that hold a model in shards send its owner their pieces of what the update is computed from; ranks that hold copies have it already. All get what
they hold of the update back. So replicas stay the same bits, whatever computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.placement_types import Placement

from components.core.collectives import everywhere
from components.core.owners import Layout, Owners, in_copies, in_shards, local, shared_out
from components.parts.optimizer._nested import layers
from components.parts.optimizer._state import Group, State, grad_of, keep_dtypes

MOST_AT_ONCE = 2**25  # elements that an owner has whole at a time, so that large models need no second copy of themselves


class Round:
    """Some matrices whose updates are computed at once. An owner's are of one shape.

    Args:
        spread: of all matrices that lie as these.
        some: their numbers.
    """

    def __init__(self, spread: Spread, some: list[int]) -> None:
        self.owners, self.some = spread.owners, some
        self.parameters = [spread.matrices[i] for i in some]
        self.own = [i for i in some if spread.owners.of[i] == spread.owners.rank]
        self.mine = [spread.matrices[i] for i in self.own]
        self._all = spread.matrices

    def gather(self, piece: Callable[[Tensor], Tensor], into: Sequence[Tensor], like: Tensor) -> None:
        """``into``: room for each of ``mine``. ``piece``: what this rank has for a parameter. It is sent in the dtype of ``like``."""
        self.owners.gather(self.some, lambda i: piece(self._all[i]), dict(zip(self.own, into)), like)

    def scatter(self, whole: Sequence[Tensor], like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(parameter, what this rank has of its update). ``whole``: the update of each of ``mine``."""
        for i, piece in self.owners.scatter(self.some, dict(zip(self.own, whole)), like):
            yield self._all[i], piece


class Spread:
    """Matrices that lie alike on the same ranks, and their owners.

    Args:
        matrices: parameters, in the same order on all ranks.
        cost: of the update of one of them.
        mesh: that they are laid out over; None: they are plain tensors.
        replicas: all ranks have copies of plain ones.
    """

    def __init__(
        self, matrices: list[Tensor], cost: Callable[[Tensor], float], mesh: DeviceMesh | None, *, replicas: bool
    ) -> None:
        self.matrices, self.mesh = matrices, mesh
        self.numbers = {id(p): i for i, p in enumerate(matrices)}
        group, self.ranks = _ranks_of(mesh, replicas=replicas)
        rank = self.ranks.index(dist.get_rank()) if len(self.ranks) > 1 else 0
        of = shared_out([cost(p) for p in matrices], len(self.ranks))
        self.owners = Owners([self.layout(p.shape, p) for p in matrices], of, group, rank)

    def layout(self, shape: Sequence[int], like: Tensor) -> Layout:
        """How the ranks have a tensor of this shape that belongs to the parameter ``like``."""
        if not isinstance(like, DTensor):
            return in_copies(shape, len(self.ranks))
        found = in_shards(shape, like.device_mesh.shape, placed(shape, like))
        ranks = like.device_mesh.mesh.flatten().tolist()
        order = [ranks.index(r) for r in self.ranks]  # as the group counts them
        return Layout(found.shape, tuple(found.regions[n] for n in order), tuple(found.copies[n] for n in order))

    def rounds(self, parameters: Sequence[Tensor]) -> list[Round]:
        """These parameters, as many at once as fit in ``MOST_AT_ONCE`` elements of one shape for each owner."""
        piles: list[list[list[int]]] = [[] for _ in self.ranks]
        opened: dict[tuple[int, torch.Size], list[int]] = {}
        for p in parameters:
            if (i := self.numbers.get(id(p))) is None:
                continue
            key = (self.owners.of[i], p.shape)
            if key not in opened or (len(opened[key]) + 1) * p.numel() > MOST_AT_ONCE:
                opened[key] = []
                piles[key[0]].append(opened[key])
            opened[key].append(i)
        most = max(map(len, piles), default=0)
        return [Round(self, [i for of in piles if n < len(of) for i in of[n]]) for n in range(most)]

    @torch.no_grad()
    def laid_out(self, states: Mapping[Tensor, State], names: Sequence[str]) -> dict[Tensor, dict[str, Tensor]]:
        """Those of the states that only owners hold: on each rank what it would hold if they lay as their parameter does. All ranks call this."""
        if len(self.ranks) == 1:
            return {}
        about = {
            i: {n: (tuple(held.shape), held.dtype) for n in names if (held := states[p].get(n)) is not None}
            for i, p in enumerate(self.matrices)
            if self.owners.of[i] == self.owners.rank and p in states
        }
        known = {i: found for theirs in everywhere(about, self.owners.group) for i, found in theirs.items()}
        made: dict[Tensor, dict[str, Tensor]] = {}
        for i in sorted(known):
            p = self.matrices[i]
            for name, (shape, dtype) in known[i].items():
                one = Owners([self.layout(shape, p)], [self.owners.of[i]], self.owners.group, self.owners.rank)
                whole = {0: states[p][name]} if self.owners.of[i] == self.owners.rank else {}
                like = local(p).new_empty(0, dtype=dtype)
                pieces = dict(one.scatter([0], whole, like))
                piece = pieces[0] if pieces else like.new_empty([s.stop - s.start for s in one.layouts[0].regions[one.rank]])
                made.setdefault(p, {})[name] = as_laid(piece, shape, p)
        return made

    @torch.no_grad()
    def keep_own(self, states: Mapping[Tensor, State], names: Sequence[str]) -> None:
        """The way back, after loading: each owner has its states whole, and others none. All ranks call this where the states are shards."""
        for i, p in enumerate(self.matrices):
            for name in names:
                if (held := states.get(p, {}).get(name)) is None:
                    continue
                if isinstance(held, DTensor):
                    one = Owners([self.layout(held.shape, p)], [self.owners.of[i]], self.owners.group, self.owners.rank)
                    like = local(held)
                    whole = {0: like.new_empty(held.shape)} if one.of[0] == one.rank else {}
                    one.gather([0], lambda _, like=like: like, whole, like)
                    states[p][name] = whole.get(0, like)
                if self.owners.of[i] != self.owners.rank:
                    del states[p][name]


def _ranks_of(mesh: DeviceMesh | None, *, replicas: bool) -> tuple[dist.ProcessGroup | None, list[int]]:
    """The group of a mesh's ranks (None: all ranks), and the ranks as it counts them."""
    if mesh is None:
        return None, list(range(dist.get_world_size())) if replicas and dist.is_initialized() else [0]
    ranks = sorted(mesh.mesh.flatten().tolist())
    if len(ranks) == dist.get_world_size():
        return None, ranks
    return (mesh if mesh.ndim == 1 else mesh._flatten()).get_group(), ranks


def placed(shape: Sequence[int], like: DTensor) -> tuple[Placement, ...]:
    """As ``like``, for a tensor of its shape; a tensor of another shape is cut along its first dimension."""
    if tuple(shape) == tuple(like.shape):
        return like.placements
    return tuple(p if p.is_replicate() else Shard(0) for p in like.placements)


def as_laid(piece: Tensor, shape: Sequence[int], like: Tensor) -> Tensor:
    """What a rank has of a tensor of this shape, as the tensor."""
    if not isinstance(like, DTensor):
        return piece
    size = torch.Size(shape)
    strides = torch.empty(size, device="meta").stride()
    return DTensor.from_local(
        piece.contiguous(), like.device_mesh, placed(shape, like), run_check=False, shape=size, stride=strides
    )


def gradient(p: Tensor) -> Tensor:
    """What this rank has of a parameter's gradient."""
    grad = grad_of(p)
    if isinstance(grad, DTensor) and isinstance(p, DTensor) and grad.placements != p.placements:
        grad = grad.redistribute(placements=p.placements)
    return local(grad)


class Spreading(torch.optim.Optimizer):
    """An optimizer whose steps of some groups need whole matrices. It is the base beside a part's options."""

    resident: tuple[str, ...] = ()  # names of what only a matrix's owner keeps of it, whole
    replicas = False  # whether all ranks have copies of plain tensors and of their gradients: set by ``compute_once``
    _spread: list[Spread] | None = None

    def whole(self, group: Group) -> bool:
        """Whether the group's steps need whole matrices."""
        raise NotImplementedError(f"{type(self).__name__} is spread over ranks, so it must say which of its groups are")

    def cost(self, p: Tensor) -> float:
        """Of one of their updates, in any unit."""
        raise NotImplementedError(f"{type(self).__name__} is spread over ranks, so it must say what an update costs")

    @property
    def spread(self) -> list[Spread]:
        """One for each mesh that matrices lie on, and one for plain tensors."""
        if self._spread is None:
            by_mesh: dict[DeviceMesh | None, list[Tensor]] = {}
            for p in (p for group in self.param_groups if self.whole(group) for p in group["params"]):
                by_mesh.setdefault(p.device_mesh if isinstance(p, DTensor) else None, []).append(p)
            self._spread = [Spread(found, self.cost, mesh, replicas=self.replicas) for mesh, found in by_mesh.items()]
        return self._spread

    def rounds(self, parameters: Sequence[Tensor]) -> list[Round]:
        """These parameters in the order in which all ranks update them."""
        return [one for spread in self.spread for one in spread.rounds(parameters)]

    def state_dict(self) -> State:
        """As any optimizer's, as if each rank had its part of all states. Where owners keep some, all ranks call this."""
        held = super().state_dict()
        if self.resident:
            numbers = {p: i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
            for spread in self.spread:
                for p, states in spread.laid_out(self.state, self.resident).items():
                    held["state"][numbers[p]] = {**held["state"].get(numbers[p], {}), **states}
        return held

    def load_state_dict(self, state_dict: State) -> None:
        super().load_state_dict(state_dict)
        keep_dtypes(self, state_dict)
        for spread in self.spread if self.resident else ():
            spread.keep_own(self.state, self.resident)


def compute_once(optimizer: torch.optim.Optimizer) -> None:
    """All ranks have copies of the weights, and the same gradients, as under DDP: each matrix's step is computed by one of them."""
    for one in layers(optimizer):
        if isinstance(one, Spreading):
            one.replicas, one._spread = True, None


def keeps_on_owners(optimizer: torch.optim.Optimizer) -> bool:
    """Whether some of its states are whole on one rank each, so that weights of one shape may have other states on this rank."""
    return any(isinstance(one, Spreading) and bool(one.resident) for one in layers(optimizer))
