"""``trainer.precision=fp8-mixed``: the linear maps of layers multiply in 8 bits by torchao, everything else is as under bf16-mixed.

Each of the three products of a map (its output, and the gradients of its input and of its weights) takes both factors rounded to fp8, each with one
scale so that its largest number is the largest of the format (Micikevicius et al. 2022, arXiv:2209.05433). Weights, gradients and optimizer stay fp32.
Imports no Lightning: `components plan` reads this too.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import torch
from torch import nn

from components.core.errors import UserError
from components.core.extras import lacking
from components.core.parts_tree import entries_of
from components.core.sequence import Layer
from components.functional.linear import MAPS

PRECISION = "fp8-mixed"
MULTIPLE = 16  # of both sizes of a matrix: what the product of fp8 on a GPU asks for


def float8_maps(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """(path, map) of each linear map that is multiplied in fp8; one that several hold comes once for each.

    Those of layers whose sizes both divide by ``MULTIPLE``; not a router's, whose choice a rounding changes, and none outside of the layers: the
    embedding and the head.
    """
    layers = [f"{path}." for path, module in model.named_modules(remove_duplicate=False) if isinstance(module, Layer)]
    routers = [f"{path}." for path, entry in entries_of(model).items() if entry.kind == "router"]
    for path, module in model.named_modules(remove_duplicate=False):
        if (
            not isinstance(module, nn.Linear)
            or type(module) not in MAPS
            or any(size % MULTIPLE for size in module.weight.shape)
        ):
            continue
        if path.startswith(tuple(layers)) and not path.startswith(tuple(routers)):
            yield path, module


def check_float8(model: nn.Module) -> str:
    """A line that says how much of ``model``, which may be on the meta device, is fp8.

    Raises:
        UserError: no map of the model can be, or torchao is not installed.
    """
    maps = {linear for _, linear in float8_maps(model)}
    if not maps:
        what = f"no linear map of a layer has sizes that divide by {MULTIPLE}, so nothing would be fp8"
        raise UserError("trainer.precision", what, "use bf16-mixed, or other widths")
    if find_spec("torchao") is None:
        raise lacking("trainer.precision", f"{PRECISION} needs the package torchao", "torchao")
    share = sum(m.weight.numel() for m in maps) / sum(p.numel() for p in model.parameters())
    return f"fp8: {len(maps)} linear maps of layers, {share:.0%} of the weights; the rest is multiplied in bf16"


def multiply_in_float8(model: nn.Module, *, emulate: bool | None = None) -> None:
    """Replace the maps of `float8_maps` by torchao's, with the same parameters under the same names.

    Args:
        model: in place.
        emulate: round to fp8 and multiply in fp32; None: where there is no GPU.


    On a CPU, which has no such product, emulation gives the same numbers, for tests, since `check_hardware` refuses it.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    emulated = not torch.cuda.is_available() if emulate is None else emulate
    # rows that do not divide are filled up: they are the inner size of the product that gives the weights' gradient
    config = Float8LinearConfig(emulate=emulated, pad_inner_dim=True)
    made: dict[nn.Linear, nn.Module] = {}
    for path, linear in list(float8_maps(model)):
        if linear not in made:
            made[linear] = convert_to_float8_training(linear, config=config)
        holder, _, name = path.rpartition(".")
        setattr(model.get_submodule(holder), name, made[linear])
