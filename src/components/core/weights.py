"""One declaration per matrix: each part's literal ``axes`` says what the axes of its weights mean; everything else reads roles from it.

``axes = {"q": ("d_model", "heads"), "out": ("heads", "d_model")}`` names the part's own parameters or its ``nn.Linear``, ``nn.Embedding``
and ``Experts`` children, input axis first. Init, weight decay, Muon, tensor parallelism and adapters ask ``roles``; nobody asks shapes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from components.core.abilities import ResetsParameters
from components.core.sequence import Layer
from components.core.traits import check_of

AXES = ("d_model", "heads", "kv_heads", "head_dim", "d_ff", "vocab", "experts", "latent", "state", "one")
ROLES = ("embedding", "hidden", "out", "head", "router", "scale", "bias", "special")
MATRICES = ("embedding", "hidden", "out", "head", "router")  # the roles that are drawn; the others start from constants


@dataclass(frozen=True)
class Weight:
    """One parameter with what it is. ``axes``: input first, output last; ``layer``: index of its layer, or None;

    ``lr_scale``: factor on the optimizer's learning rate, as the init says (muP); ``rate``: another one, as the tuning says."""

    name: str
    parameter: nn.Parameter
    role: str
    axes: tuple[str, ...]
    module: nn.Module
    layer: int | None = None
    lr_scale: float = 1.0
    rate: float = 1.0

    @property
    def fan_in(self) -> int:
        """Width of the input that one output sums over."""
        shape = self.parameter.shape
        if isinstance(self.module, nn.Embedding):
            return int(shape[-1])
        return int(shape[-1] if isinstance(self.module, nn.Linear) else shape[-2] if len(shape) > 1 else shape[0])

    @property
    def fan_out(self) -> int:
        shape = self.parameter.shape
        return int(shape[-2] if isinstance(self.module, nn.Linear) else shape[-1])


class Experts(nn.Module):
    """A stack of matrices of one shape: ``weight`` (E, in, out), called as ``experts(x)`` with x (E, N, in) -> (E, N, out)."""

    def __init__(self, count: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, d_in, d_out))
        nn.init.uniform_(self.weight, -(d_in**-0.5), d_in**-0.5)  # as nn.Linear, for a part that stands in no model

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight)


class Accumulating(nn.Module):
    """A part that adds up in buffers (what ``after_step`` moves): they are fp32 at least, whatever the model is built in or cast to.

    In bf16 a sum stops growing at 256 times what is added. Casting the model to it, ``precision: bf16-true`` among the ways, leaves these buffers'
    values to the digit; a wider type is taken.
    """

    def accumulate(self, name: str, *shape: int) -> None:
        """Register the buffer ``name``; ``reset_parameters`` gives it its first value."""
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        self.register_buffer(name, torch.empty(shape, dtype=dtype))

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        held = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, before in held.items():
            after = self._buffers[name]
            if before is not None and after is not None and after.dtype in (torch.bfloat16, torch.float16):
                self._buffers[name] = before.to(after.device, torch.promote_types(before.dtype, torch.float32))
        return self


def weight_of(module: nn.Module) -> Tensor:
    """The matrix that the module multiplies by, adapters included. The only way to a weight that is not by calling its module."""
    effective = getattr(module, "effective_weight", None)
    return effective() if callable(effective) else module.weight  # type: ignore[return-value]


def role_of(axes: tuple[str, ...], name: str, leaf: str) -> str:
    """The role that follows from the axes: ``leaf`` is the parameter's own name, ``name`` the key in ``axes``."""
    if leaf == "bias":
        return "bias"
    if name == leaf and leaf in ("weight", "scale"):  # a part's own parameter, not a matrix: a norm's or a branch's scale
        return "scale"
    if len(axes) < 2:
        return "special"
    if axes[0] in ("vocab", "one"):  # a table of vectors, by token or by position
        return "embedding"
    if axes[-1] == "vocab":
        return "head"
    if axes[-1] == "experts":
        return "router"
    if name == "out" and axes[-1] == "d_model":
        return "out"
    return "hidden"


def roles(model: nn.Module) -> Iterator[Weight]:
    """Every parameter once, under its first name, with the role that its part declares.

    Raises:
        ValueError: a parameter that no part declares, since nobody could then know what to do with it.
    """
    seen: set[int] = set()
    layer_of = {path: m.place.index for path, m in model.named_modules() if isinstance(m, Layer)}
    owners = [(path, m) for path, m in model.named_modules(remove_duplicate=False)]
    by_path = dict(owners)
    for path, module in owners:
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            full = f"{path}.{leaf}".lstrip(".")
            axes, key = declared_axes(by_path, path, module, leaf)
            if axes is None:
                raise ValueError(f"{full}: no part declares its axes; add it to the literal `axes` of the part that holds it")
            layer = next((i for p, i in layer_of.items() if path.startswith(p + ".")), None)
            yield Weight(full, parameter, role_of(axes, key, leaf), axes, module, layer)


def axes_of(module: object) -> dict[str, tuple[str, ...]] | None:
    """The literal ``axes`` of a part; None for a module that declares nothing."""
    return getattr(module, "axes", None)


def declared_axes(by_path: dict[str, nn.Module], path: str, module: nn.Module, leaf: str) -> tuple[tuple[str, ...] | None, str]:
    """(axes, key) as the module itself or the nearest part above it declares them; for a bias, the last axis."""
    own = axes_of(module)
    if own and leaf in own:
        return tuple(own[leaf]), leaf
    parts = path.split(".") if path else []
    for cut in range(len(parts) - 1, -1, -1):
        owner = by_path[".".join(parts[:cut])]
        key = parts[cut]
        axes = axes_of(owner)
        if axes and key in axes:
            found = tuple(axes[key])
            return (found[-1:] if leaf == "bias" else found), key
        if axes is not None and cut < len(parts) - 1:
            break
    return None, leaf


def generator_for(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of this parameter's own: a swap elsewhere, sharding or the order of parts cannot change what it draws."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


def init_of(model: nn.Module) -> Any:
    """What draws the model's weights; None for a part alone."""
    return getattr(model, "init", None)  # a part of kind init may be a module, which no attribute of the class shows


def path_of(module: nn.Module, otherwise: str) -> str:
    """The module's name in the model that named its parts (``sockets.name_parts``); where none did, ``otherwise``."""
    return getattr(module, "part_path", otherwise)


def key_of(weight: Weight) -> str:
    """The weight's name in the model that named its parts: a wrapper around the model draws the same values."""
    path, _, leaf = weight.name.rpartition(".")
    return f"{path_of(weight.module, path)}.{leaf}".lstrip(".")


def blank(weight: Weight, generator: torch.Generator) -> Tensor:
    """Memory for the weight's full value: fp32 on the generator's device, whatever dtype and device are the default at the moment."""
    return torch.empty(weight.parameter.shape, dtype=torch.float32, device=generator.device)


@torch.no_grad()
def initialise(model: nn.Module, init: Any, seed: int, *, draw: bool = True) -> None:
    """Give every parameter and buffer its first value, whatever device or sharding it has; the same from meta as direct.

    Constants come from each module's ``reset_parameters`` (scales, gates, biases: no randomness), matrices from ``init(weight, generator)``
    -> a full-shape fp32 tensor, or None to leave the constant. An init that has a ``check(weights)`` sees them all before the first.
    Without ``draw`` there are constants alone, buffers that no state dict has among them: for who loads a whole state dict next.
    """
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            continue
        if isinstance(module, ResetsParameters) and callable(module.reset_parameters):
            module.reset_parameters()
    if not draw:
        return
    weights = list(roles(model))
    if (check := check_of(init)) is not None:
        check(weights)
    for weight in weights:
        if weight.parameter.is_meta:
            continue  # it can hold no value
        generator = generator_for(seed, key_of(weight))
        value = init(weight, generator)
        if value is None and weight.role == "bias" and isinstance(weight.module, nn.Linear):
            value = blank(weight, generator).zero_()
        if value is not None:
            copy_full(weight.parameter, value)


def redraw(model: nn.Module, seed: int) -> None:
    """Every weight of a whole model anew from the seed. ValueError for a part alone, and for what is no seed."""
    if not callable(init := init_of(model)):
        raise ValueError("only a model draws its weights from a seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"{seed!r} is no number from 0 on")
    initialise(model, init, seed)


def copy_full(parameter: Tensor, value: Tensor) -> None:
    """``parameter[:] = value`` where value has the full shape and the parameter may be a shard."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(parameter, DTensor):
        value = value.to(parameter.to_local().device, parameter.dtype)
        parameter.to_local().copy_(
            distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None).to_local()
        )
    else:
        parameter.copy_(value)
