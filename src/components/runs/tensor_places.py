"""The tensors of a checkpoint apart from the rest of it: by their places, such as ``("optimizer_states", 0, "state", 3, "exp_avg")``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from components.core.errors import UserError

TREES = ("state_dict", "optimizer_states")  # of a checkpoint: where tensors are taken from
Key = str | int
Place = tuple[Key, ...]


def taken_apart(checkpoint: dict[str, object]) -> tuple[dict[str, object], dict[Place, Tensor]]:
    """(the checkpoint without the tensors of ``TREES``, these by their place). The checkpoint stays as it is."""
    tensors: dict[Place, Tensor] = {}

    def without(value: object, place: Place) -> object:
        if isinstance(value, Tensor):
            tensors[place] = value
            return None
        before = len(tensors)
        if isinstance(value, dict):
            inner = {key: without(one, (*place, key)) for key, one in value.items()}
            return {key: one for key, one in inner.items() if (*place, key) not in tensors}
        if isinstance(value, (list, tuple)):
            inner = [without(one, (*place, i)) for i, one in enumerate(value)]
            return inner if len(tensors) > before else value
        return value

    return {key: without(one, (key,)) if key in TREES else one for key, one in checkpoint.items()}, tensors


def put_together(rest: dict[str, object], tensors: Iterable[tuple[Place, Tensor]], where: str) -> dict[str, object]:
    """``rest``, changed: with each tensor at its place. UserError, beginning with ``where``, if one of them cannot be there."""
    for place, tensor in tensors:
        held: Any = rest
        for key in place[:-1]:
            held = held.setdefault(key, {}) if isinstance(held, dict) else held[key] if _inside(held, key) else None
        last = place[-1]
        if not (isinstance(held, dict) and last not in held) and not (_inside(held, last) and held[last] is None):
            said = f"is damaged: {'/'.join(map(str, place))} is no place for a tensor"
            raise UserError(where, said, "use another checkpoint of the run")
        held[last] = tensor
    return rest


def _inside(held: object, key: Key) -> bool:
    return isinstance(held, list) and isinstance(key, int) and 0 <= key < len(held)
