"""Growing: keep the keys and values of every position, in buffers that double when they are full.

Pope et al. 2022, arXiv:2211.05102
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from components.registry import register
from components.sockets import SequenceInfo

SMALLEST = 64  # positions of a first buffer


class Buffer:
    """A tensor that grows along one axis. ``read`` gives a view of what is stored, so that nothing is copied per token.

    ``kept``: how many leading entries some snapshot still counts on; an append below that copies first.
    """

    def __init__(self, axis: int) -> None:
        self.axis, self.length, self.kept = axis, 0, 0
        self.data: Tensor | None = None

    def append(self, new: Tensor) -> Tensor:
        end = self.length + new.shape[self.axis]
        data = self.data
        if data is None or end > data.shape[self.axis] or self.length < self.kept:
            data = self._grow(new, end)
        data.narrow(self.axis, self.length, end - self.length).copy_(new)
        self.length = end
        return data.narrow(self.axis, 0, end)

    def _grow(self, new: Tensor, end: int) -> Tensor:
        shape = list(new.shape)
        shape[self.axis] = max(SMALLEST, 1 << end.bit_length())
        data = torch.empty(shape, dtype=new.dtype, device=new.device)
        if self.data is not None and self.length:
            data.narrow(self.axis, 0, self.length).copy_(self.read())
        self.data, self.kept = data, 0
        return data

    def read(self) -> Tensor:
        assert self.data is not None
        return self.data.narrow(self.axis, 0, self.length)

    def map(self, change: Any) -> None:
        """What is stored, changed into a tensor of its own."""
        if self.data is not None:
            stored, self.data, self.kept = change(self.read()), None, 0
            length, self.length = self.length, 0
            if length:
                self.append(stored)

    def snapshot(self) -> tuple[Tensor | None, int]:
        self.kept = max(self.kept, self.length)
        return self.data, self.length

    def restore(self, snapshot: tuple[Tensor | None, int]) -> None:
        data, self.length = snapshot
        if data is not self.data:
            # how far older snapshots of that tensor reach is no longer known: the next append copies
            self.data, self.kept = data, 0 if data is None else data.shape[self.axis]


class GrowingSlot:
    """One module's keys and values (B, H, T, K), and ``state`` for what is no list of positions.

    Parts put new values into ``state`` and never write into old ones: a snapshot keeps the old.
    """

    def __init__(self, cache: Growing) -> None:
        self.cache = cache
        self.state: dict[str, Any] = {}
        self.keys, self.values = Buffer(2), Buffer(2)

    def append(self, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        """All keys and values so far in time order, and the info that describes them; without gradient.

        The first call gives its own arguments back: nothing came before, and kernels know what ``info`` itself means.
        """
        first = self.keys.length == 0
        keys, values = self.keys.append(k.detach()), self.values.append(v.detach())
        if self.keys.length != self.cache.length:
            raise RuntimeError(
                f"a slot holds {self.keys.length} positions and its cache {self.cache.length}: every forward must open the cache once, "
                "and a module that it passes twice needs a slot for each visit"
            )
        return (k, v, info) if first else (keys, values, self.cache.stored)


@dataclass(frozen=True)
class Snapshot:
    length: int
    rows: int
    log: dict[str, tuple[Tensor | None, int]]
    slots: dict[tuple[nn.Module, int], tuple[Any, Any, dict[str, Any]]]


@register("cache", "growing")
class Growing:
    """Growing: every position stays.

    Positions, documents and padding are kept once for all layers; None as long as no call gives them.
    """

    def __init__(self) -> None:
        self.length = 0
        self.rows = 0
        self.stored = SequenceInfo()
        self._log = {name: Buffer(1) for name in ("positions", "documents", "valid")}
        self._slots: dict[tuple[nn.Module, int], GrowingSlot] = {}

    @property
    def uneven(self) -> bool:
        """Does the log hold padding or documents?"""
        return bool(self._log["documents"].length or self._log["valid"].length)

    def open(self, info: SequenceInfo) -> None:
        """Note the positions of this forward, before any layer appends to its slot."""
        positions = info.positions
        assert positions is not None, "a cached call needs positions"
        self.rows = positions.shape[0] if info.ids is None else info.ids.shape[0]
        if self.length and info.documents is None and self._log["documents"].length:
            raise ValueError("the cached positions have documents: say to which the new ones belong")
        found = {
            "positions": self._note("positions", positions),
            "documents": self._note("documents", info.documents, positions, before=0),
            "valid": self._note("valid", info.valid, positions, before=True),
        }
        self.length += positions.shape[1]
        self.stored = SequenceInfo(**found, causal=info.causal, cache=self)

    def _note(self, name: str, new: Tensor | None, like: Tensor | None = None, before: Any = None) -> Tensor | None:
        """Append to one line of the log; a line that starts late is filled with what its absence meant."""
        line = self._log[name]
        if new is None:
            if not line.length:
                return None
            new = torch.full((line.read().shape[0], like.shape[1]), before, dtype=line.data.dtype, device=like.device)
        if not line.length and self.length and name != "positions":
            line.append(new.new_full((new.shape[0], self.length), before))
        if line.length and line.data.shape[0] != new.shape[0]:
            rows = max(line.data.shape[0], new.shape[0])
            new = new.expand(rows, -1)
            line.map(lambda stored: stored.expand(rows, -1))
        return line.append(new)

    def slot(self, module: nn.Module, visit: int = 0) -> GrowingSlot:
        key = (module, visit)
        found = self._slots.get(key)
        if found is None:
            found = self._slots[key] = GrowingSlot(self)
        return found

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was; there may be more or fewer of them."""

        def pick(x: Any) -> Any:
            shared = not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] != self.rows
            return x if shared else x.index_select(0, rows.to(x.device))

        for slot in self._slots.values():
            slot.keys.map(pick)
            slot.values.map(pick)
            slot.state = pytree.tree_map(pick, slot.state)
        for line in self._log.values():
            line.map(pick)
        self.rows = rows.shape[0]

    def snapshot(self) -> Snapshot:
        """Where the cache stands, to go back to: lengths, and the recurrent states as they are. Copies no tensor."""
        log = {name: line.snapshot() for name, line in self._log.items()}
        slots = {key: (s.keys.snapshot(), s.values.snapshot(), dict(s.state)) for key, s in self._slots.items()}
        return Snapshot(self.length, self.rows, log, slots)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back; the same snapshot may be restored again, and older ones after it."""
        self.length, self.rows = snapshot.length, snapshot.rows
        for name, line in self._log.items():
            line.restore(snapshot.log[name])
        self._slots = {key: slot for key, slot in self._slots.items() if key in snapshot.slots}
        for key, (keys, values, state) in snapshot.slots.items():
            slot = self.slot(*key)
            slot.keys.restore(keys)
            slot.values.restore(values)
            slot.state = dict(state)

    def bytes(self) -> int:
        """Memory of all buffers, their unused part included, and of the states."""
        tensors = [b.data for s in self._slots.values() for b in (s.keys, s.values)] + [
            line.data for line in self._log.values()
        ]
        tensors += [x for s in self._slots.values() for x in pytree.tree_leaves(s.state)]
        return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))
