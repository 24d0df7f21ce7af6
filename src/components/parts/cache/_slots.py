"""What the caches share: buffers of positions, the log of what they are, slots of modules, snapshots. A cache says how its buffers are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from components.core.sockets import SequenceInfo

SMALLEST = 64  # positions of a first buffer
NAMES = ("positions", "documents", "valid")


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

    def put(self, stored: Tensor) -> None:
        """``stored`` instead of what was there, in a tensor of its own."""
        self.data, self.kept, self.length = None, 0, 0
        self.append(stored)

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        """What is stored, changed into a tensor of its own."""
        if self.data is not None:
            stored, self.data, self.kept = change(self.read()), None, 0
            length, self.length = self.length, 0
            if length:
                self.append(stored)

    def snapshot(self) -> Any:
        self.kept = max(self.kept, self.length)
        return self.data, self.length

    def restore(self, snapshot: Any) -> None:
        data, self.length = snapshot
        if data is not self.data:
            # it is not known any more how far older snapshots of that tensor reach: the next append copies
            self.data, self.kept = data, 0 if data is None else data.shape[self.axis]

    def bytes(self) -> int:
        return 0 if self.data is None else self.data.numel() * self.data.element_size()


class Log:
    """Positions, documents and padding of what slots keep, once for all of them; None as long as no call gives them."""

    def __init__(self, line: Callable[[int], Any] = Buffer) -> None:
        self.lines = {name: line(1) for name in NAMES}
        self.stored = SequenceInfo()

    @property
    def uneven(self) -> bool:
        """Does the log hold padding or documents?"""
        return bool(self.lines["documents"].length or self.lines["valid"].length)

    def add(self, info: SequenceInfo, before: int) -> None:
        """Note the positions of a call; ``before`` of them are stored."""
        positions = info.positions
        self.stored = SequenceInfo(
            positions=self._note("positions", positions, positions, before, None),
            documents=self._note("documents", info.documents, positions, before, 0),
            valid=self._note("valid", info.valid, positions, before, True),
            causal=info.causal,
            cache=info.cache,
        )

    def _note(self, name: str, new: Tensor | None, like: Any, before: int, fill: Any) -> Tensor | None:
        """Append to one line; a line that starts late is filled with what its absence meant."""
        line = self.lines[name]
        if new is None:
            if not line.length:
                return None
            new = torch.full((line.data.shape[0], like.shape[1]), fill, dtype=line.data.dtype, device=like.device)
        if not line.length and before and name != "positions":
            line.append(new.new_full((new.shape[0], before), fill))
        if line.length and line.data.shape[0] != new.shape[0]:
            rows = max(line.data.shape[0], new.shape[0])
            new = new.expand(rows, -1)
            line.map(lambda stored: stored.expand(rows, -1))
        return line.append(new)


class Slot:
    """One module's keys and values (B, H, T, K), and ``state`` for what is not kept by position.

    Parts put new values into ``state`` and never write into old ones: a snapshot keeps the old.
    """

    def __init__(self, cache: Any, log: Any, buffer: Callable[[int], Any]) -> None:
        self.cache, self.log, self.length = cache, log, 0
        self.state: dict[str, Any] = {}
        self.keys, self.values = buffer(2), buffer(2)

    def append(self, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        """All keys and values so far in time order, and the info that describes them; without gradient.

        The first call gives its own arguments back: nothing came before, and kernels know what ``info`` itself means.
        """
        first = self.length == 0
        keys, values = self.keys.append(k.detach()), self.values.append(v.detach())
        self.length += k.shape[2]
        if self.length != self.cache.length:
            raise RuntimeError(
                f"a slot holds {self.length} positions and its cache {self.cache.length}: every forward must open the cache once, "
                "and a module that it passes twice needs a slot for each visit"
            )
        return (k, v, info) if first else (keys, values, self.log.stored)


@dataclass(frozen=True)
class Snapshot:
    length: int
    rows: int
    logs: dict[Any, dict[str, Any]]
    slots: dict[tuple[nn.Module, int], tuple[int, Any, Any, dict[str, Any]]]


class Slots:
    """Slots by module and visit, and the logs that describe them. ``length`` positions so far, padding included, in ``rows`` rows."""

    def __init__(self) -> None:
        self.length = 0
        self.rows = 0
        self._logs: dict[Any, Any] = {None: Log()}
        self._slots: dict[tuple[nn.Module, int], Any] = {}

    @property
    def uneven(self) -> bool:
        """Are some of the positions padding, or do they have documents?"""
        return any(log.uneven for log in self._logs.values())

    def open(self, info: SequenceInfo) -> None:
        """Note the positions of this forward, before any layer appends to its slot."""
        positions = info.positions
        assert positions is not None, "a cached call needs positions"
        self.rows = positions.shape[0] if info.ids is None else info.ids.shape[0]
        for log in self._logs.values():
            if self.length and info.documents is None and log.lines["documents"].length:
                raise ValueError("the cached positions have documents: say to which the new ones belong")
            log.add(info, self.length)
        self.length += positions.shape[1]

    def slot(self, module: nn.Module, visit: int = 0) -> Any:
        key = (module, visit)
        found = self._slots.get(key)
        if found is None:
            found = self._slots[key] = self._new_slot(module)
        return found

    def _new_slot(self, module: nn.Module) -> Slot:  # noqa: ARG002  caches that ask the module have their own
        return Slot(self, self._logs[None], Buffer)

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was; there may be more or fewer of them."""

        def pick(x: Any) -> Any:
            shared = not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] != self.rows
            return x if shared else x.index_select(0, rows.to(x.device))

        for slot in self._slots.values():
            slot.keys.map(pick)
            slot.values.map(pick)
            slot.state = pytree.tree_map(pick, slot.state)
        for log in self._logs.values():
            for line in log.lines.values():
                line.map(pick)
        self.rows = rows.shape[0]

    def snapshot(self) -> Snapshot:
        """Where the cache stands, to go back to: lengths, and the recurrent states as they are. Copies no tensor."""
        logs = {key: {name: line.snapshot() for name, line in log.lines.items()} for key, log in self._logs.items()}
        slots = {key: (s.length, s.keys.snapshot(), s.values.snapshot(), dict(s.state)) for key, s in self._slots.items()}
        return Snapshot(self.length, self.rows, logs, slots)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back; the same snapshot may be restored again, and older ones after it."""
        self.length, self.rows = snapshot.length, snapshot.rows
        self._logs = {key: log for key, log in self._logs.items() if key in snapshot.logs}
        for key, log in self._logs.items():
            for name, line in log.lines.items():
                line.restore(snapshot.logs[key][name])
        self._slots = {key: slot for key, slot in self._slots.items() if key in snapshot.slots}
        for key, (length, keys, values, state) in snapshot.slots.items():
            slot = self.slot(*key)
            slot.length, slot.state = length, dict(state)
            slot.keys.restore(keys)
            slot.values.restore(values)

    def bytes(self) -> int:
        """Memory of all buffers, their unused part included, and of the states."""
        buffers = [b for s in self._slots.values() for b in (s.keys, s.values)]
        buffers += [line for log in self._logs.values() for line in log.lines.values()]
        states = [x for s in self._slots.values() for x in pytree.tree_leaves(s.state) if isinstance(x, Tensor)]
        return sum(b.bytes() for b in buffers) + sum(x.numel() * x.element_size() for x in states)
