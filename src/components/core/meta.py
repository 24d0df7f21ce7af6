"""A model on the meta device: its shapes without its numbers, so that any size is built in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from components.core.makers import ScopedMaker, make
from components.core.sockets import name_parts

DRAWS = {"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"}


class Undrawn(TorchFunctionMode):
    """Skips random numbers where nothing is stored: torch would load its compiler (2 s) to draw on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # as torch calls it
        kwargs = kwargs or {}
        tensor = args[0] if args else kwargs.get("tensor")
        drawn = getattr(func, "__name__", "") in DRAWS and isinstance(tensor, torch.Tensor) and tensor.is_meta
        return tensor if drawn else func(*args, **kwargs)


@contextmanager
def meta_device() -> Iterator[None]:
    """Whatever is made inside allocates nothing and draws nothing."""
    with torch.device("meta"), Undrawn():
        yield


def on_meta(config: Mapping[str, object], vocab_size: int) -> nn.Module:
    """The model of a composed config without its numbers, its parts named.

    Args:
        config: of a run; its ``model`` is built, without ``adapter``.
        vocab_size: ids that it knows.

    Raises:
        UserError: its parts do not fit; with the path in the config.
    """
    with meta_device():
        model = make(ScopedMaker(config["model"], where="model"), "model", vocab_size=vocab_size)
    name_parts(model)
    return model


def emptied(model: nn.Module) -> nn.Module:
    """The model with new tensors of the same shapes on the CPU; ``to_empty`` cannot swap those of the meta device for fake ones."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for held in cast(tuple[dict[str, Tensor | None], ...], (module._parameters, module._buffers)):
            for name, old in held.items():
                if old is not None:
                    new = torch.empty(old.shape, dtype=old.dtype)
                    held[name] = made.setdefault(
                        id(old), nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
                    )
    return model
