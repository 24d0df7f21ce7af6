"""Matrices that lie in pieces or in copies on many ranks, and are needed whole: which rank has which of them whole, and how pieces get there and back.

Each matrix has one owner. The ranks that have a piece of it send it there, and get theirs of what the owner computes. All ranks call the same methods
with the same matrices, and all know from the layout alone who sends what, so that one exchange carries many matrices and nothing is said beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.placement_types import Placement, _StridedShard

Region = tuple[slice, ...]


@dataclass(frozen=True)
class Layout:
    """Where the ranks of a group have a tensor.

    Args:
        shape: of the whole.
        regions: what each rank has of it.
        copies: of each rank: which one of the copies it belongs to, where the tensor lies there more than once.
    """

    shape: tuple[int, ...]
    regions: tuple[Region, ...]
    copies: tuple[int, ...]

    def senders(self, owner: int) -> list[int]:
        """The other ranks that have pieces of the owner's copy; none where the owner has all of it."""
        if self.size(owner) == math.prod(self.shape):
            return []
        return [r for r, copy in enumerate(self.copies) if copy == self.copies[owner] and r != owner and self.size(r)]

    def size(self, rank: int) -> int:
        return math.prod(s.stop - s.start for s in self.regions[rank])


def in_copies(shape: Sequence[int], ranks: int) -> Layout:
    """All ranks have all of it."""
    return Layout(tuple(shape), (tuple(slice(0, n) for n in shape),) * ranks, tuple(range(ranks)))


def in_shards(shape: Sequence[int], mesh: Sequence[int], placements: Sequence[Placement]) -> Layout:
    """That of a DTensor over a mesh of this shape, whose ranks are counted along the last dimension first.

    A dimension that is cut twice is cut by the plain placement first, and by a strided one within: that is how shards of FSDP are made of the pieces of
    tensor parallelism.
    """
    inner = [isinstance(p, _StridedShard) for p in placements]
    order = sorted(range(len(mesh)), key=lambda d: inner[d])
    regions, copies = [], []
    for at in product(*(range(n) for n in mesh)):
        region, copy = [slice(0, n) for n in shape], 0
        for d in order:
            placement = placements[d]
            if isinstance(placement, (Shard, _StridedShard)):
                region[placement.dim] = _chunk(region[placement.dim], mesh[d], at[d])
        for d, placement in enumerate(placements):
            if placement.is_replicate():
                copy = copy * mesh[d] + at[d]
        regions.append(tuple(region))
        copies.append(copy)
    return Layout(tuple(shape), tuple(regions), tuple(copies))


def _chunk(of: slice, pieces: int, n: int) -> slice:
    """The ``n``-th of so many, as ``torch.chunk`` cuts; empty where there are not so many."""
    size = -(-(of.stop - of.start) // pieces)
    return slice(min(of.start + n * size, of.stop), min(of.start + (n + 1) * size, of.stop))


def shared_out(costs: Sequence[float], ranks: int) -> list[int]:
    """Whose each of some tasks is: the dearest first, each to the rank that has the least to do. Graham 1969: at most 4/3 of the best.

    Equal costs go in their order and equal ranks by their number, so that all ranks find the same, in each run.
    """
    loads, found = [0.0] * ranks, [0] * len(costs)
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        found[i] = min(range(ranks), key=lambda r: loads[r])
        loads[found[i]] += costs[i]
    return found


Parcels = list[list[tuple[int, int]]]  # for each rank: (number of a matrix, elements of it)


class Owners:
    """The ranks that have some tensors in pieces or copies, and which of them owns which tensor.

    Args:
        layouts: how the ranks have them.
        of: the owner of each.
        group: the ranks; None: all.
        rank: this one's number in the group.
    """

    def __init__(self, layouts: Sequence[Layout], of: Sequence[int], group: dist.ProcessGroup | None, rank: int) -> None:
        self.layouts, self.of, self.group, self.rank = layouts, of, group, rank
        self.ranks = len(layouts[0].regions)

    def gather(self, some: Sequence[int], piece: Callable[[int], Tensor], into: Mapping[int, Tensor], like: Tensor) -> None:
        """Fill the tensors that are this rank's own.

        Args:
            some: numbers of the tensors; the same on all ranks.
            piece: what this rank has of the tensor of this number. It is asked for as it is sent.
            into: room for each of ``some`` that is this rank's own.
            like: of the dtype and on the device in which pieces are sent.
        """
        sends, receives, sent = self._nothing(), self._nothing(), False
        for i in some:
            layout, owner = self.layouts[i], self.of[i]
            senders = layout.senders(owner)
            sent = sent or bool(senders)
            if owner == self.rank:
                into[i][layout.regions[owner]].copy_(piece(i))
                for r in senders:
                    receives[r].append((i, layout.size(r)))
            elif self.rank in senders:
                sends[owner].append((i, layout.size(self.rank)))
        if not sent:  # owners have all of them; the same on all ranks
            return
        for r, i, flat in self._exchange(sends, receives, lambda _, i: piece(i), like):
            room = into[i][self.layouts[i].regions[r]]
            room.copy_(flat.view(room.shape))

    def scatter(self, some: Sequence[int], whole: Mapping[int, Tensor], like: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(number, what this rank has of it) for each of ``some`` that it has anything of. All ranks go through to the end.

        Args:
            some: numbers of the tensors; the same on all ranks.
            whole: those that are this rank's own.
            like: of the dtype and on the device in which pieces are sent.
        """
        sends, receives = self._nothing(), self._nothing()
        for i in some:
            layout, owner = self.layouts[i], self.of[i]
            if owner != self.rank:
                receives[owner] += [(i, n)] if (n := layout.size(self.rank)) else []
                continue
            for r in range(self.ranks):
                if r != owner and (n := layout.size(r)):
                    sends[r].append((i, n))
            yield i, whole[i][layout.regions[owner]]
        if self.ranks == 1:
            return
        for _, i, flat in self._exchange(sends, receives, lambda r, i: whole[i][self.layouts[i].regions[r]], like):
            yield i, flat.view([s.stop - s.start for s in self.layouts[i].regions[self.rank]])

    def _nothing(self) -> Parcels:
        return [[] for _ in range(self.ranks)]

    def _exchange(
        self, sends: Parcels, receives: Parcels, piece: Callable[[int, int], Tensor], like: Tensor
    ) -> Iterator[tuple[int, int, Tensor]]:
        """(from which rank, number, elements), in one call of all ranks. ``piece``: what goes to a rank, by its number and the tensor's."""
        out, back = ([sum(n for _, n in of) for of in parcels] for parcels in (sends, receives))
        parcel, room = like.new_empty(sum(out)), like.new_empty(sum(back))
        places = iter(parcel.split([n for of in sends for _, n in of]))
        for r, of in enumerate(sends):
            for i, _ in of:
                own = piece(r, i)
                next(places).view(own.shape).copy_(own)
        dist.all_to_all_single(room, parcel, back, out, group=self.group)
        places = iter(room.split([n for of in receives for _, n in of]))
        for r, of in enumerate(receives):
            for i, _ in of:
                yield r, i, next(places)


def local(x: Tensor) -> Tensor:
    """What this rank has of it."""
    return x.to_local() if isinstance(x, DTensor) else x
