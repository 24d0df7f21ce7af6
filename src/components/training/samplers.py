"""A sampler whose numbers are those of this rank already, in the order in which they are to be read.

Lightning asks by class. A loader without a ``DistributedSampler`` is divided among the ranks, and shuffled on the way; one without a
``SequentialSampler`` is read anew in its dataset's order where ``overfit_batches`` is set.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DistributedSampler, SequentialSampler


class Divided(SequentialSampler, DistributedSampler):  # type: ignore[type-arg]  # of numbers, as both are without one
    """The numbers from 0 to ``length``.

    Args:
        length: how many batches this rank reads.
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.length))
