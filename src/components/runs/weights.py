"""Allocate a model that was built on the meta device, and initialise it. Tied weights stay tied."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from components.core import memory
from components.core.errors import UserError
from components.core.weights import initialise
from components.functional.quantised_tensor import bytes_of


def materialise(model: nn.Module, device: torch.device | str, seed: int, *, draw: bool = True) -> None:
    """Allocate every parameter and buffer on ``device`` and initialise it. Sharded parameters get their shard of the same values.

    Without ``draw`` matrices are left uninitialised: ``load_state_dict`` follows, and it refuses to leave one out.
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
    """Compare the bytes of a model on the meta device with the memory of the device that it is meant for; of a CPU, also with what others leave free.

    ``ranks``: the number of processes it may be sharded over. A tensor that is sharded already counts with this process's shard.

    Raises:
        UserError: it does not fit.
    """
    held = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    size = sum(_bytes(t) for t in held) // ranks
    place = torch.device(device)
    there = torch.cuda.get_device_properties(place).total_memory if place.type == "cuda" else None
    less = "make it smaller, or spread it over more devices: trainer.strategy=fsdp2"
    memory.hold(size, "model", "its weights", less, there=there)
    if place.type == "cpu" and size > (free := memory.free()):  # where it runs out, the system ends the process without a word
        what = f"needs {memory.shown(size)} for its weights, and {memory.shown(free)} are free here"
        raise UserError("model", what, "end what else holds memory on this machine, or make the model smaller")


def _bytes(tensor: Tensor) -> int:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return bytes_of(local)


def _ties(model: nn.Module) -> list[tuple[str, list[str]]]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [(found[0], found[1:]) for found in names.values() if len(found) > 1]
