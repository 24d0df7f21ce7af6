"""A stretch of a row on shapes alone: what the last of the devices that share rows reads of the others under ``trainer.strategy=cp``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.sockets import SequenceInfo
from components.training.strategy._context import Rows, Stretch


class LastStretch(Rows):
    """What parts take for a cache; it stands in the place of the devices that have the stretches before.

    Args:
        count: devices that share a row.
        rows, length: of this device's stretch.
    """

    def __init__(self, count: int, rows: int, length: int) -> None:
        positions = torch.arange(count * length).expand(rows, -1)
        super().__init__(before=SequenceInfo(positions=positions, causal=True))
        self.count = count
        self.gathered = 0  # bytes of keys and values of all stretches, so far

    def slot(self, module: nn.Module, visit: int = 0) -> Stretch:  # noqa: ARG002  a cache's method has these arguments
        return _Last(self)


class _Last(Stretch):
    rows: LastStretch

    def __init__(self, rows: LastStretch) -> None:
        super().__init__(rows, {})

    def append(self, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:  # noqa: ARG002  as above
        whole = [torch.cat([x.new_zeros(x.shape).detach()] * (self.rows.count - 1) + [x], 2) for x in (k, v)]
        self.rows.gathered += sum(x.numel() * x.element_size() for x in whole)
        assert self.rows.before is not None
        return whole[0], whole[1], self.rows.before
