"""Mixers that stand inside another mixer: how they are made, and how what one of them hands on stays apart from what the other does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from components.core.sockets import Maker, Place, SequenceInfo, make, merge_out

if TYPE_CHECKING:
    from components.core.contracts import Attention


def inner(maker: Maker["attention"], d_model: int, context_length: int | None, place: Place | None) -> Attention:
    """A mixer of the same sizes; those that are not known it does without."""
    sizes: dict[str, Any] = {"d_model": d_model, "context_length": context_length, "place": place}
    return make(maker, "attention", **{name: size for name, size in sizes.items() if size is not None})


def read_apart(mixer: Attention, x: Tensor, info: SequenceInfo, word: str, given: SequenceInfo | None = None) -> Tensor:
    """``mixer(x, given)``, which hands on and is handed what its like hands on alone: under words of their own in ``info``, that begin with ``word``.

    Losses and statistics, which are sums, are added to the others. ``given``: what describes x to it; None: ``info``.
    """
    carry = {n.removeprefix(word): v for n, v in info.carry.items() if n.startswith(word)}
    out: dict[str, Any] = {}
    y = mixer(x, (given or info).with_(carry=carry, out=out))
    sums = ("loss.", "stat.")  # over all positions, in whichever order
    info.out.update(merge_out(info.out, {n if n.startswith(sums) else word + n: v for n, v in out.items()}))
    return y
