"""Dettmers et al. 2022 (vector-wise absmax), arXiv:2208.07339, section 2.1"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.parts.cache._slots import Buffer, Slot, Slots


class Quantised:
    """A buffer of codes and one of scales (fp32); what is read has the dtype of what was put in, and differs by half a scale at most."""

    def __init__(self, axis: int) -> None:
        self.codes, self.scales, self.dtype = Buffer(axis), Buffer(axis), torch.float32

    def append(self, new: Tensor) -> Tensor:
        self.dtype = new.dtype
        wide = torch.promote_types(new.dtype, torch.float32)
        size = new.abs().amax(-1, keepdim=True) if new.shape[-1] else new.new_zeros(*new.shape[:-1], 1)
        scale = (size.to(wide) / 127).float()
        codes = torch.round(new.to(wide) / torch.where(scale > 0, scale, torch.ones_like(scale))).clamp_(-127, 127)
        return self._read(self.codes.append(codes.to(torch.int8)), self.scales.append(scale))

    def _read(self, codes: Tensor, scales: Tensor) -> Tensor:
        return (codes * scales).to(self.dtype)

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        self.codes.map(change)
        self.scales.map(change)

    def snapshot(self) -> Any:
        return self.codes.snapshot(), self.scales.snapshot()

    def restore(self, snapshot: Any) -> None:
        self.codes.restore(snapshot[0])
        self.scales.restore(snapshot[1])

    def bytes(self) -> int:
        return self.codes.bytes() + self.scales.bytes()


@register("cache", "int8")
class Int8(Slots):
    """Eight bits: keys and values are stored as whole numbers from -127 to 127, with a scale for each head and position.

    A quarter of fp32's memory, half of bf16's, and four bytes for each head and position. Not exact: a stored number is off by at most 1/254 of
    its vector's largest. The first call reads its own keys and values as they are; recurrent states are not changed.
    """

    lacks = ("cacheable",)

    def __init__(self) -> None:
        super().__init__()

    def _new_slot(self, module: nn.Module) -> Slot:  # noqa: ARG002
        return Slot(self, self._logs[None], Quantised)
