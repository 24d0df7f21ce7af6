"""Which positions a rank has between the pieces of a model that ranks hold together: norms and the stream are computed for its own alone.

Korthikanti et al. 2022, arXiv:2205.05198, section 4.2.2 (sequence parallelism)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from components.core.errors import UserError
from components.core.sockets import Layer, SequenceInfo
from components.parts.block._branches import Block
from components.parts.stack._stack import Stack

OPTION = "trainer.strategy.sequence_parallel"


def stacks(model: nn.Module) -> list[Stack]:
    """Those that stand in no other."""
    found = {path: m for path, m in model.named_modules() if isinstance(m, Stack)}
    return [m for path, m in found.items() if not any(path.startswith(f"{other}.") for other in found)]


def check_positions(model: nn.Module, size: int) -> None:
    """UserError unless ``size`` ranks can have some of the positions each."""
    context: Any = model.context_length
    if isinstance(context, int) and context % size:
        raise UserError(OPTION, f"{context} positions do not divide among {size} devices", "change model.context_length")
    inside = {m for stack in stacks(model) for m in stack.modules()}
    for path, module in model.named_modules():
        if isinstance(module, Layer) and (module not in inside or not isinstance(module.block, Block)):
            what = f"nothing is known of what {type(module.block).__name__} does with positions"
            raise UserError(OPTION, f"{path}: {what}", "leave it out")


def parts_of(args: Iterable[object], group: dist.ProcessGroup) -> bool:
    """Whether what a module is called with are some of the positions that its info tells of: those of this rank."""
    held = list(args)
    info = next((x for x in held if isinstance(x, SequenceInfo)), None)
    x = next((x for x in held if isinstance(x, Tensor)), None)
    if info is None or info.positions is None or x is None or x.dim() < 3:
        return False
    return dist.get_world_size(group) > 1 and x.shape[1] * dist.get_world_size(group) == info.positions.shape[1]


def branches(model: nn.Module) -> Iterator[nn.Module]:
    """The parts that layers' blocks call: attention, FFN and the like; and those that a stack calls between them."""
    for module in model.modules():
        if isinstance(module, Stack):
            yield from module.beside()
        if isinstance(module, Block):
            yield from (module.get_submodule(branch.name) for branch in module.branches)
