"""Pope et al. 2022, arXiv:2211.05102; PyTorch 2023 (gpt-fast): what torch.compile and CUDA graphs want"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from components.core.errors import UserError
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo
from components.parts.cache._slots import NAMES, Slot, Slots


class Fixed:
    """A tensor of full length along one axis, zeros where nothing has been stored; ``append`` gives all of it.

    ``kept``: how many leading entries some snapshot still counts on. Going back to before them copies.
    """

    def __init__(self, axis: int, log: FixedLog) -> None:
        self.axis, self.log, self.kept = axis, log, 0
        self.data: Tensor | None = None

    def append(self, new: Tensor) -> Tensor:
        if self.data is None:
            shape = list(new.shape)
            shape[self.axis] = self.log.size
            self.data = new.new_zeros(shape)
        self.data.index_copy_(self.axis, self.log.where, new)
        return self.data

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        if self.data is not None:
            self.data, self.kept = change(self.data).clone(), 0

    def snapshot(self) -> Any:
        self.kept = max(self.kept, self.log.length)
        return self.data, self.log.length

    def restore(self, snapshot: Any) -> None:
        data, length = snapshot
        if data is not None and (data is not self.data or self.kept > length):
            self.data, self.kept = data.clone(), 0
        else:
            self.data = data

    def bytes(self) -> int:
        return 0 if self.data is None else self.data.numel() * self.data.element_size()


class FixedLog:
    """Positions, documents and validity of every place; a place that nothing was stored in is not valid."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = torch.zeros((), dtype=torch.long)  # a tensor, so that a compiled step does not depend on its value
        self.where = torch.empty(0, dtype=torch.long)
        self.lines = {name: Fixed(1, self) for name in NAMES}
        self.stored = SequenceInfo()

    @property
    def length(self) -> int:
        return int(self.used)

    @property
    def uneven(self) -> bool:
        valid = self.lines["valid"].data
        return self.lines["documents"].data is not None or (valid is not None and not bool(valid[:, : self.length].all()))

    def add(self, info: SequenceInfo, before: int) -> None:  # noqa: ARG002  `used` says it
        positions = info.positions
        assert positions is not None
        t, lines, found = positions.shape[1], self.lines, {}
        self.where = self.used.to(positions.device) + torch.arange(t, device=positions.device)
        valid = torch.ones_like(positions, dtype=torch.bool) if info.valid is None else info.valid
        for name, new in (("positions", positions), ("documents", info.documents), ("valid", valid)):
            line = lines[name]
            if new is None and line.data is None:
                continue
            if new is None:
                raise ValueError("the cached positions have documents: say to which the new ones belong")
            if line.data is not None and line.data.shape[0] != new.shape[0]:
                rows = max(line.data.shape[0], new.shape[0])
                new = new.expand(rows, -1)
                line.map(lambda stored, rows=rows: stored.expand(rows, -1))
            found[name] = line.append(new)
        self.used = self.used.to(positions.device) + t
        self.stored = SequenceInfo(**found, causal=info.causal, cache=info.cache)


class StaticSlot(Slot):
    def append(self, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        first = self.keys.data is None
        keys, values = self.keys.append(k.detach()), self.values.append(v.detach())
        return (k, v, info) if first else (keys, values, self.log.stored)


@register("cache", "static")
class Static(Slots):
    """Static: keys and values stand in tensors of full length from the first call on, so that no shape changes from token to token.

    For ``torch.compile``: a token's step is compiled once, with positions given. Every step reads all ``max_length`` places.

    Args:
        max_length: places, padding and new tokens included.

    Errors: UserError when it is full.
    """

    def __init__(self, *, max_length: Positive = 2048) -> None:
        self.max_length, self.rows = max_length, 0
        self._logs: dict[Any, Any] = {None: FixedLog(max_length)}
        self._slots: dict[tuple[nn.Module, int], Any] = {}

    @property  # type: ignore[override]
    def length(self) -> int:
        return self._logs[None].length

    @length.setter
    def length(self, value: int) -> None:
        self._logs[None].used = torch.tensor(value)

    def open(self, info: SequenceInfo) -> None:
        """Note the positions of this forward. Beyond the last place a compiled step fails as torch says."""
        positions, log = info.positions, self._logs[None]
        assert positions is not None, "a cached call needs positions"
        if not torch.compiler.is_compiling() and log.length + positions.shape[1] > self.max_length:
            needed = log.length + positions.shape[1]
            raise UserError(
                "cache.max_length",
                f"cache/static has {self.max_length} places, and {needed} are needed",
                "raise it, or take cache=growing",
            )
        self.rows = positions.shape[0] if info.ids is None else info.ids.shape[0]
        log.add(info, 0)

    def _new_slot(self, module: nn.Module) -> Slot:  # noqa: ARG002
        log = self._logs[None]
        return StaticSlot(self, log, partial(Fixed, log=log))
