"""Pope et al. 2022, arXiv:2211.05102; PyTorch 2023 (gpt-fast): what torch.compile and CUDA graphs want"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """A tensor of full length along one axis, zeros where nothing has been stored.

    ``kept``: how many leading entries some snapshot still counts on. Going back to before them copies.
    """

    def __init__(self, axis: int, log: FixedLog) -> None:
        self.axis, self.log, self.kept = axis, log, 0
        self.data: Tensor | None = None

    def append(self, new: Tensor) -> Tensor:
        """All of it, to a program that is compiled for one shape."""
        data = self._made(new) if self.data is None else self.data
        data.index_copy_(self.axis, self.log.where, new)
        return data

    def fill(self, new: Tensor) -> Tensor:
        """What is filled then."""
        data = self._made(new) if self.data is None else self.data
        axis, end, t = self.axis, self.log.filled, new.shape[self.axis]
        data.narrow(axis, end - t, t).copy_(new)
        return data.narrow(axis, 0, end)

    def _made(self, like: Tensor) -> Tensor:
        shape = list(like.shape)
        shape[self.axis] = self.log.size
        self.data = like.new_zeros(shape)
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
        self._one: Tensor | None = None
        self.filled = 0  # the same as `used`, which a compiled step leaves as it is
        self.gaps = False  # whether some call has said that not all of its positions are valid
        self.lines = {name: Fixed(1, self) for name in NAMES}
        self.stored = self.of_filled = SequenceInfo()  # with the places behind what is filled, and without them

    @property
    def length(self) -> int:
        return int(self.used)

    @property
    def uneven(self) -> bool:
        valid = self.lines["valid"].data
        return self.lines["documents"].data is not None or (valid is not None and not bool(valid[:, : self.length].all()))

    def add(self, info: SequenceInfo, before: int) -> None:
        """Note the positions of a call; ``before`` of them are stored, which a program that is compiled asks ``used`` for."""
        positions = info.positions
        assert positions is not None
        rows, t = positions.shape
        lines, compiling = self.lines, torch.compiler.is_compiling()
        self.filled, self.gaps = self.filled if compiling else before + t, self.gaps or info.valid is not None
        used = self.used if self.used.device == positions.device else self.used.to(positions.device)
        self.where = used[None] if t == 1 and not compiling else used + torch.arange(t, device=positions.device)
        valid = self.all_valid(rows, t, positions.device) if info.valid is None else info.valid
        found: dict[str, Tensor] = {}
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
            found[name] = line.append(new) if compiling else line.fill(new)
        self.used = used + t
        self.stored = self._said(info, found if compiling else {name: self.lines[name].data for name in found})
        if not self.gaps:  # all that is filled is valid, so there is nothing to hide
            del found["valid"]
        self.of_filled = self._said(info, found)

    def all_valid(self, rows: int, t: int, device: torch.device) -> Tensor:
        if t != 1 or torch.compiler.is_compiling():
            return torch.ones(rows, t, dtype=torch.bool, device=device)
        if self._one is None or self._one.shape[0] != rows:
            self._one = torch.ones(rows, 1, dtype=torch.bool, device=device)  # every token asks for it
        return self._one

    def _said(self, info: SequenceInfo, found: Mapping[str, Tensor | None]) -> SequenceInfo:
        return SequenceInfo(
            positions=found["positions"],
            documents=found.get("documents"),
            valid=found.get("valid"),
            causal=info.causal,
            cache=info.cache,
        )


class StaticSlot(Slot):
    def append(self, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        log, first = self.log, self.keys.data is None
        if torch.compiler.is_compiling():  # a program for one shape reads all places
            keys, values, stored = self.keys.append(k.detach()), self.values.append(v.detach()), log.stored
        else:
            keys, values, stored = self.keys.fill(k.detach()), self.values.fill(v.detach()), log.of_filled
        return (k, v, info) if first else (keys, values, stored)


@register("cache", "static")
class Static(Slots):
    """Static: keys and values stand in tensors of full length from the first call on, so that no shape changes from token to token.

    For ``torch.compile``: a token's step is compiled once, with positions given. A compiled step reads all ``max_length`` places, others what is filled.

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
        before = 0 if torch.compiler.is_compiling() else log.length
        if (needed := before + positions.shape[1]) > self.max_length:
            raise UserError(
                "cache.max_length",
                f"cache/static has {self.max_length} places, and {needed} are needed",
                "raise it, or take cache=growing",
            )
        self.rows = positions.shape[0] if info.ids is None else info.ids.shape[0]
        log.add(info, before)

    def _new_slot(self, module: nn.Module) -> Slot:  # noqa: ARG002
        log = self._logs[None]
        return StaticSlot(self, log, partial(Fixed, log=log))
