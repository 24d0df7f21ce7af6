"""Tensors by name that are read when they are asked for, so that a model's weights need not be in memory beside the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor


class OnDemand(Mapping[str, Tensor]):
    """A state dict whose tensors are read one by one.

    Args:
        like: {name: a tensor on the meta device of its shape and dtype}, in the order in which reading is cheapest.
        read: gives the tensor of a name. It may be called again for the same name.
    """

    def __init__(self, like: Mapping[str, Tensor], read: Callable[[str], Tensor]) -> None:
        self.like = like
        self._read = read

    def __getitem__(self, name: str) -> Tensor:
        self.like[name]  # a KeyError, where there is none
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self.like  # Mapping's own way would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.like)

    def __len__(self) -> int:
        return len(self.like)


def outline(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors of the same names, shapes and dtypes, for whoever needs no numbers: nothing is read."""
    return weights.like if isinstance(weights, OnDemand) else weights


def unread(tensor: Tensor) -> Tensor:
    """A tensor on the meta device of the same shape and dtype."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
