"""Give a model that was built on the meta device its memory and its first values, ties kept."""

from __future__ import annotations

import torch
from torch import nn

from components.weights import initialise


def materialise(model: nn.Module, device: torch.device | str, seed: int, *, draw: bool = True) -> None:
    """Every parameter and buffer on ``device`` with its initial value; sharded parameters get their shard of the same values.

    Without ``draw`` matrices have no value yet, which ``load_state_dict`` gives them: it refuses to leave one out.
    """
    ties = _ties(model)
    model.to_empty(device=device)
    for first, others in ties:  # to_empty makes one tensor per name
        tensor = model.get_parameter(first)
        for path in others:
            owner, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(owner), leaf, tensor)
    initialise(model, model.init, seed, draw=draw)


def _ties(model: nn.Module) -> list[tuple[str, list[str]]]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [(found[0], found[1:]) for found in names.values() if len(found) > 1]
