"""Jiang et al. 2023 (Mistral, rolling buffer), arXiv:2310.06825, section 2; Gemma 2 2024 (layers of both kinds), arXiv:2408.00118"""

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
from components.core.traits import lends, mask_of
from components.core.weights import path_of
from components.parts.cache._slots import SMALLEST, Buffer, Log, Slot, Slots


class Sliding(Buffer):
    """The last ``keep`` entries, in time order, and room for new ones: when it is full they move to the front of a new tensor."""

    def __init__(self, axis: int, log: SlidingLog) -> None:
        super().__init__(axis)
        self.log = log
        self.room = max(SMALLEST, log.keep // 8)

    def append(self, new: Tensor) -> Tensor:
        """What was kept and ``new``; of both, what the log says is kept for the next call."""
        t, old = new.shape[self.axis], min(self.length, self.log.keep)
        if t > self.room:  # longer than the room: put together once, and its end is kept
            whole = torch.cat((self.read(), new), self.axis) if old else new
            self.put(whole.narrow(self.axis, max(0, old + t - self.log.keep), min(old + t, self.log.keep)))
            return whole
        if self.data is None or self.length + t > self.data.shape[self.axis] or self.length < self.kept:
            self.put(self.read() if self.data is not None else new.narrow(self.axis, 0, 0))
        self.data.narrow(self.axis, self.length, t).copy_(new)  # type: ignore[union-attr]
        self.length += t
        return self.data.narrow(self.axis, self.length - old - t, old + t)  # type: ignore[union-attr]

    def read(self) -> Tensor:
        assert self.data is not None
        count = min(self.length, self.log.keep)
        return self.data.narrow(self.axis, self.length - count, count)

    def put(self, stored: Tensor) -> None:
        shape = list(stored.shape)
        count, shape[self.axis] = shape[self.axis], self.log.keep + self.room
        self.data, self.kept, self.length = stored.new_empty(shape), 0, count
        self.data.narrow(self.axis, 0, count).copy_(stored)

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        if self.data is not None:
            self.put(change(self.read()))

    def keep_valid(self, whole: Tensor) -> None:
        """Of what ``append`` gave, each row keeps its last valid entries: padding between them would push others out."""
        index = self.log.index
        if index is not None:
            if self.axis == 1:
                self.put(whole.expand(index.shape[0], -1).gather(1, index))
            else:
                shape = (index.shape[0], whole.shape[1], index.shape[1], whole.shape[3])
                self.put(whole.gather(2, index[:, None, :, None].expand(shape)))


class SlidingLog(Log):
    """``index``: which columns of this call's view each row keeps, if not simply the last ones."""

    def __init__(self, reach: int, anchored: bool) -> None:
        self.keep, self.anchored = reach - 1, anchored
        self.index: Tensor | None = None
        super().__init__(partial(Sliding, log=self))

    def add(self, info: SequenceInfo, before: int) -> None:
        super().add(info, min(before, self.keep))
        columns, self.index = self.stored.positions.shape[1], None  # type: ignore[union-attr]
        if info.valid is not None:
            order = torch.argsort(self.stored.valid.int(), dim=1, stable=True)  # type: ignore[union-attr]
            self.index = order[:, columns - min(columns, self.keep) :]
            for name, line in self.lines.items():
                if line.length:
                    line.keep_valid(getattr(self.stored, name))
        if self.anchored and self.stored.valid is None and before > self.keep:
            # such a rule cannot tell from the number of keys alone that it hides none of them
            everything = torch.ones(1, columns, dtype=torch.bool, device=info.positions.device)  # type: ignore[union-attr]
            self.stored = self.stored.with_(valid=everything)


class RingSlot(Slot):
    """``refused``: why its module cannot be served."""

    refused = ""

    def append(self, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        sliding = isinstance(self.keys, Sliding)
        if self.refused:
            raise UserError("cache.window", self.refused, "raise it, or leave it null for as many as each layer sees")
        if sliding and info.prefix is not None:
            raise UserError("cache", "a prefix that every position sees does not stay in a ring", "use cache=growing")
        keys, values, stored = super().append(k, v, info)
        if sliding and self.log.index is not None:
            self.keys.keep_valid(keys.detach())
            self.values.keep_valid(values.detach())
        return keys, values, stored


@register("cache", "ring")
class Ring(Slots):
    """Ring: each layer keeps as many positions as its mask can see, and forgets the oldest as new ones come.

    A layer whose mask has no ``reach`` (full attention), or whose keys later layers borrow, keeps everything.

    Args:
        window: positions that every layer keeps, the newest included; null: each its own. A layer that sees further is refused.

    Errors: UserError on the first call if a layer sees further than ``window``, or with a prefix.
    """

    def __init__(self, *, window: Positive | None = None) -> None:
        super().__init__()
        self.window = window
        self._logs = {}
        self._first: SequenceInfo | None = None

    def open(self, info: SequenceInfo) -> None:
        self._first = None if self.length else info
        super().open(info)

    def _new_slot(self, module: nn.Module) -> Slot:
        mask = mask_of(module)
        reach, refused = None if mask is None else mask.reach, ""
        if lends(module):
            reach = None  # who borrows may see further
        if self.window is not None:
            if reach is None or reach > self.window:
                rule = "no mask" if mask is None else type(mask).__name__
                sees = "every position" if reach is None else f"{reach} positions"
                refused = (
                    f"{path_of(module, '') or type(module).__name__} sees {sees} ({rule}), and the ring keeps {self.window}"
                )
            reach = self.window
        log = self._log(reach, mask is not None and mask.anchored)
        slot = RingSlot(self, log, Buffer if reach is None else partial(Sliding, log=log))
        slot.refused = refused
        return slot

    def _log(self, reach: int | None, anchored: bool) -> Any:
        """The log of all slots that keep as much; one that comes during the first forward has that forward's positions."""
        key = (reach, anchored)
        if key not in self._logs:
            self._logs[key] = Log() if reach is None else SlidingLog(reach, anchored)
            if self.length and self._first is not None:
                self._logs[key].add(self._first, 0)
        return self._logs[key]
