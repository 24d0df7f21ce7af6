"""Give a model that was built on the meta device its memory and its first values, ties kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from components.core import memory
from components.core.weights import initialise


def materialise(model: nn.Module, device: torch.device | str, seed: int, *, draw: bool = True) -> None:
    """Every parameter and buffer on ``device`` with its initial value; sharded parameters get their shard of the same values.

    Without ``draw`` matrices have no value yet, which ``load_state_dict`` gives them: it refuses to leave one out.
    """
    fits(model, device)
    ties = _ties(model)
    model.to_empty(device=device)
    for first, others in ties:  # to_empty makes one tensor per name
        tensor = model.get_parameter(first)
        for path in others:
            owner, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(owner), leaf, tensor)
    initialise(model, model.init, seed, draw=draw)


def fits(model: nn.Module, device: torch.device | str, *, ranks: int = 1) -> None:
    """Hold the model's bytes, added up while it is on meta, against the memory of where it will stand.

    ``ranks``: among so many processes it may be sharded; what is sharded already counts with this process's part.

    Raises:
        UserError: it cannot stand there.
    """
    held = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    size = sum(_bytes(t) for t in held) // ranks
    place = torch.device(device)
    there = torch.cuda.get_device_properties(place).total_memory if place.type == "cuda" else None
    less = "make it smaller, or spread it over more devices: trainer.strategy=fsdp2"
    memory.hold(size, "model", "its weights", less, there=there)


def _bytes(tensor: Tensor) -> int:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return local.numel() * local.element_size()


def _ties(model: nn.Module) -> list[tuple[str, list[str]]]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [(found[0], found[1:]) for found in names.values() if len(found) > 1]
