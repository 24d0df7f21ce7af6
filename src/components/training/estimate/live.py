"""Counts the bytes of tensors that are alive, from the moment at which it is entered: on fake tensors without any memory behind them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def of_this_rank(tensor: Tensor) -> Tensor:
    """The piece that this rank holds, for what is laid out over several; the tensor itself otherwise."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor  # to_local() records a step of autograd each time


class Live(TorchDispatchMode):
    """``now`` and ``peak``: bytes of storages that came to be inside.

    Args:
        before: tensors that were there before, which do not count.
    """

    def __init__(self, before: Iterable[object] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.paused = False
        self.known: set[int] = set()
        self.held = [
            of_this_rank(t).untyped_storage() for t in before if isinstance(t, Tensor)
        ]  # so that no other gets the same address
        self.known.update(s._cdata for s in self.held)

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        del types
        out = func(*args, **(kwargs or {}))
        if not self.paused:
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    self._count(of_this_rank(leaf))
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, int(storage.nbytes())
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size
