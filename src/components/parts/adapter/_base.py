"""The frozen matrices that an adapter stands beside, in few bits: what memory holds of the base is a quarter (int8) or an eighth (nf4) of fp32.

Dettmers et al. 2023, arXiv:2305.14314, equation 5: the bits are made a matrix for each product, and only the adapter learns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from torch import nn

from components.core.errors import UserError
from components.core.options import Options
from components.core.parts_tree import entries_of
from components.core.sequence import Layer
from components.core.weights import Experts
from components.functional.quantised_tensor import quantise

Base: TypeAlias = Literal["full", "int8", "nf4"]


class OverBase(Options):
    """An adapter over frozen matrices.

    Args:
        base: how the frozen matrices of linear maps in layers are kept: as they are, in ``int8`` (a quarter of fp32) or in ``nf4`` (an eighth).
    """

    base: Base = "full"


def keep(model: nn.Module, base: Base) -> None:
    """Keep what `frozen_maps` finds in few bits, on any device, ``meta`` too.

    Raises:
        UserError: there is no such map, or a matrix of the model cannot be kept so.
    """
    if base == "full":
        return
    stacks = [path for path, m in model.named_modules() if isinstance(m, Experts) and not m.weight.requires_grad]
    if stacks:
        what = f"{stacks[0]} is a stack of experts' matrices, which is not kept in {base}"
        raise UserError("adapter.base", what, "adapter.base=full")
    found = dict(frozen_maps(model))
    if not found:
        raise UserError("adapter.base", f"no layer has a frozen linear map, so nothing would be {base}", "adapter.base=full")
    holders: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        holders.setdefault(id(parameter), []).append(name)
    for path, linear in found.items():
        tied = [name for name in holders[id(linear.weight)] if name != f"{path}.weight"]
        if tied:
            what = f"{path}.weight is {tied[0]} too, and a tied matrix is not kept in {base}"
            raise UserError("adapter.base", what, "adapter.base=full")
        if base == "nf4" and linear.weight.shape[1] % 2:
            what = f"{path} has {linear.weight.shape[1]} inputs, and nf4 keeps them in pairs"
            raise UserError("adapter.base", what, "adapter.base=int8")
    for linear in found.values():
        quantise(linear, base)


def frozen_maps(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """(path, map) of each linear map in a layer whose matrix is frozen and whole; one that an adapter has changed too.

    Not a router's, whose choice a rounding changes, and none outside of the layers: the embedding and the head.
    """
    layers = tuple(f"{path}." for path, m in model.named_modules() if isinstance(m, Layer))
    routers = tuple(f"{path}." for path, entry in entries_of(model).items() if entry.kind == "router")
    for path, module in model.named_modules():
        inside = path.startswith(layers) and not path.startswith(routers)
        if inside and isinstance(module, nn.Linear) and type(module.weight) is nn.Parameter and not module.weight.requires_grad:
            yield path, module
