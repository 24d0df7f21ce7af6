"""What ranks do together. Either all ranks call a function of this file or none does. The functions agree on what only one rank
knows.

A collective behind a condition that differs between ranks waits for ever: one rank may have nothing to measure, another an extra
name. So sums and metrics are gathered here and nowhere else.

Sums are over the ranks that read different data. Those are all ranks, unless a strategy says that some read the same rows (``read_apart``):
what such ranks count is the same, and counts once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from components.core.errors import UserError

T = TypeVar("T")


class Fed(Protocol):
    """The methods of a torchmetrics object that are used here."""

    @property
    def update_called(self) -> bool: ...
    def compute(self) -> Any: ...
    def reset(self) -> None: ...


_apart: list[dist.ProcessGroup] = []  # the ranks that read different data, where that is not all of them


def read_apart(group: dist.ProcessGroup | None) -> None:
    """From now on this rank's sums are over ``group``, of which no two ranks read the same data; None: over all ranks."""
    _apart[:] = [] if group is None else [group]


def apart() -> dist.ProcessGroup | None:
    """The ranks that sums are over; None: all."""
    return _apart[0] if _apart else None


def several() -> bool:
    """Whether other ranks read other data, so that there is something to add up."""
    return dist.is_initialized() and dist.get_world_size(apart()) > 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def everywhere(value: T, group: dist.ProcessGroup | None = None) -> list[T]:
    """The ``value`` of each rank, of all or of a group, in the order of the ranks. Give plain data: it is pickled."""
    return _gathered(value, group)


def of_each_reader(value: T) -> list[T]:
    """The ``value`` of each of the ranks that sums are over, in their order."""
    return _gathered(value, apart())


def _gathered(value: T, group: dist.ProcessGroup | None) -> list[T]:
    if not dist.is_initialized() or dist.get_world_size(group) == 1:
        return [value]
    gathered: list[T] = [value] * dist.get_world_size(group)
    dist.all_gather_object(gathered, value, group)
    return gathered


class Sums:
    """Adds up dictionaries of tensors over the ranks that read different data, in one reduction. A rank that lacks a name adds nothing to it.

    The first call agrees on names and shapes. In later calls a number beside the values tells whether some rank has a new name.

    Args:
        steady: the names come from the model, so they are the same in every step and on every rank. Then nothing is read back
        from the
            device, and a new name is a fault of the part that writes it.
    """

    def __init__(self, *, steady: bool = False) -> None:
        self.steady = steady
        self.agreed: dict[str, tuple[tuple[int, ...], torch.dtype]] | None = None

    @property
    def pending(self) -> bool:
        """Whether this rank must call even with nothing to add: it is the first call, or other ranks may have something."""
        return several() and (self.agreed is None or bool(self.agreed))

    def __call__(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums of all names that at least one rank has. Steady names all have a sum.

        Raises:
            RuntimeError: a name has different shapes on two ranks, or is new although names are steady.
        """
        if not several():
            return sums
        if not self.agreed:  # a step without targets writes no statistics
            self._agree(sums)
        taken = self._reduced(sums)
        if taken is None:
            self._agree(sums)
            taken = self._reduced(sums)
            assert taken is not None
        return taken

    def _agree(self, sums: dict[str, Tensor]) -> None:
        known = dict(self.agreed or {})
        for theirs in of_each_reader({n: (tuple(v.shape), v.dtype) for n, v in sums.items()}):
            for name, (shape, dtype) in theirs.items():
                before = known.get(name, (shape, dtype))
                if before[0] != shape:
                    raise RuntimeError(f"{name} is {before[0]} on one rank and {shape} on another")
                known[name] = shape, torch.promote_types(before[1], dtype)
        self.agreed = dict(sorted(known.items()))

    def _reduced(self, sums: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """The sums, or None if some rank has a name that was not agreed on."""
        assert self.agreed is not None
        new = sorted(sums.keys() - self.agreed.keys())
        if new and self.steady:
            raise RuntimeError(
                f"{', '.join(new)}: written in this step and not in the first; a statistic is written in each step"
            )
        if self.steady and not self.agreed:
            return {}
        device = next((v.device for v in sums.values()), _device())
        dtype = reduce(torch.promote_types, (d for _, d in self.agreed.values()), torch.float32)
        there = [float(name in sums) for name in self.agreed]
        parts = [
            sums[n].detach().reshape(-1).to(dtype) if n in sums else torch.zeros(_size(shape), dtype=dtype, device=device)
            for n, (shape, _) in self.agreed.items()
        ]
        flat = torch.cat([*parts, torch.tensor([*there, float(bool(new))], dtype=dtype, device=device)])
        dist.all_reduce(flat, group=apart())
        sizes = [_size(shape) for shape, _ in self.agreed.values()]
        *values, counts = flat.split([*sizes, len(there) + 1])
        found = {n: v.reshape(shape).to(d) for (n, (shape, d)), v in zip(self.agreed.items(), values)}
        if self.steady:
            return found
        *held, news = counts.tolist()
        return None if news else {n: v for (n, v), count in zip(found.items(), held) if count}


def begin_sum(value: Tensor) -> Callable[[], Tensor]:
    """Begin to add ``value`` up over the ranks that read different data. What is returned gives the sum, and waits for it if it must."""
    if not several():
        return lambda: value
    total = value.clone()
    work = dist.all_reduce(total, group=apart(), async_op=True)

    def end() -> Tensor:
        nonlocal work
        if work is not None:
            work.wait()
            work = None
        return total

    return end


def least(value: Tensor) -> Tensor:
    """The smallest value of any rank."""
    if dist.is_initialized():
        dist.all_reduce(value, dist.ReduceOp.MIN)
    return value


def summed(value: Tensor) -> Tensor:
    """The sum of ``value`` over the ranks that read different data, without a gradient; it waits for no device.

    Inside a model's forward, all ranks must be training.
    """
    return begin_sum(value.detach())() if several() else value


def sum_within(value: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The sum of ``value`` over the ranks of ``group``, which all call this; ``value`` stays."""
    total = value.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total


def largest_within(value: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The largest of the ranks' numbers at each place of ``value``, over the ranks of ``group``, which all call this; ``value`` stays."""
    largest = value.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=group)
    return largest


def side_by_side(value: Tensor, group: dist.ProcessGroup, axis: int = -1) -> Tensor:
    """``value`` of each rank of ``group`` along an axis, in the order of the ranks: n there becomes ranks * n."""
    pieces = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size(group))]
    dist.all_gather(pieces, value.contiguous(), group)
    return torch.cat(pieces, axis)


def updated(metrics: Mapping[str, Fed]) -> set[str]:
    """Names of the metrics that at least one rank has updated since the last reset."""
    return set().union(*everywhere([n for n, m in metrics.items() if m.update_called]))


def computed(metrics: Mapping[str, Fed]) -> dict[str, float]:
    """The value over all ranks of each metric that some rank has updated. All metrics are reset; one that no rank updated has no
    value.

    ``compute`` of torchmetrics makes one collective call for each state of the metric, so every rank must compute the same
    metrics.
    """
    fed, taken = updated(metrics), {}
    for name, metric in metrics.items():
        if name in fed:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*was called before the ``update`` method.*")  # another rank has fed it
                taken[name] = float(metric.compute())
        metric.reset()
    return taken


class Differing(UserError):
    """Raised on all ranks alike; only one of them prints it."""


def same_everywhere(facts: Mapping[str, object], instead: str) -> None:
    """Each rank has found these facts by itself; the first rank's hold.

    Raises:
        Differing: on all ranks, where one has found something else.
    """
    first, *others = everywhere(dict(facts))
    for rank, theirs in enumerate(others, start=1):
        for name, value in first.items():
            if theirs.get(name) != value:
                raise Differing(f"rank {rank}", f"its {name} is {theirs.get(name)}, that of the first rank {value}", instead)


def _size(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def _device() -> torch.device:
    """Where a rank that has no tensor at hand makes one."""
    gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
