"""A model on the meta device: its shapes without its numbers, so that any size is built in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
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
