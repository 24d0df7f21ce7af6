"""Hooks around the parts of a model that ranks hold together: what goes into them, and how what the ranks give becomes one.

Between the parts each rank has all positions, or its own share of them (``_positions.py``).
"""

# ruff: noqa: ARG002  torch's hooks have fixed arguments
from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from components.core.sockets import SequenceInfo
from components.training.strategy._positions import parts_of
from components.training.strategy._sums import added, entered, joined, own, parted, rejoined, scattered, shared, spread


class Side(dict[str, object]):
    """What a piece writes beside its output. ``outer``: where it belongs."""

    def __init__(self, outer: dict[str, object]) -> None:
        super().__init__()
        self.outer = outer


class Region:
    """Hooks around a part whose pieces the ranks compute: the output is their sum. Where each rank has some of the positions, it reads all and gives its own."""

    def __init__(self, module: nn.Module, group: dist.ProcessGroup) -> None:
        self.group, self.parted = group, False
        module.register_forward_pre_hook(self.before, with_kwargs=True)
        module.register_forward_hook(self.after, with_kwargs=True)

    def before(
        self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        held = (*args, *kwargs.values())
        self.parted = parts_of(held, self.group)
        return tuple(self.reading(x) for x in args), {name: self.reading(x) for name, x in kwargs.items()}

    def reading(self, x: object) -> object:
        return spread(x, self.group) if self.parted and isinstance(x, Tensor) else self.entering(x)

    def entering(self, x: object) -> object:
        if isinstance(x, Tensor):
            return entered(x, self.group)
        if isinstance(x, tuple):
            return tuple(self.entering(v) for v in x)
        if not isinstance(x, SequenceInfo):
            return x
        memory = None if x.memory is None else entered(x.memory, self.group)
        carry = {name: self.entering(v) for name, v in x.carry.items()}
        return x.with_(memory=memory, carry=carry, out=Side(x.out))

    def after(self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: Tensor) -> Tensor:
        for info in (*args, *kwargs.values()):
            if isinstance(info, SequenceInfo) and isinstance(info.out, Side):
                for name, value in info.out.items():
                    info.out.outer[name] = self.leaving(value)
        return self.close(output)

    def close(self, output: Tensor) -> Tensor:
        return scattered(output, self.group) if self.parted else added(output, self.group)

    def leaving(self, value: object) -> object:
        """What each rank has computed alike."""
        if isinstance(value, tuple):
            return tuple(self.leaving(v) for v in value)
        return shared(value, self.group) if isinstance(value, Tensor) else value


class Whole(Region):
    """Hooks around a part that all ranks compute alike: where each has some of the positions, it reads all and gives its own."""

    def before(
        self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        self.parted = parts_of((*args, *kwargs.values()), self.group)
        return super().before(module, args, kwargs) if self.parted else (args, kwargs)

    def after(self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: Tensor) -> Tensor:
        return super().after(module, args, kwargs, output) if self.parted else output

    def close(self, output: Tensor) -> Tensor:
        return own(output, self.group)


class Parting:
    """Hooks around a stack: in training, each rank has some of the positions of what passes through it. Rows that do not divide stay whole."""

    def __init__(self, stack: nn.Module, group: dist.ProcessGroup) -> None:
        self.group, self.parted = group, False
        stack.register_forward_pre_hook(self.before, prepend=True)  # what follows looks at what the rank has
        stack.register_forward_hook(self.after)

    def before(self, module: nn.Module, args: tuple[Tensor, SequenceInfo]) -> tuple[Tensor, SequenceInfo]:
        x, info = args
        divides = x.shape[1] % dist.get_world_size(self.group) == 0
        self.parted = divides and torch.is_grad_enabled() and info.cache is None
        return (parted(x, self.group), info) if self.parted else args

    def after(self, module: nn.Module, args: object, output: tuple[Tensor, object]) -> tuple[Tensor, object]:
        hidden, out = output
        return (rejoined(hidden, self.group), out) if self.parted else output


class Logits(Region):
    """Hooks around a head of which each rank has some of the logits: they are put side by side, or left where they are for who asks the head for that."""

    def __init__(self, head: nn.Module, group: dist.ProcessGroup) -> None:
        super().__init__(head, group)
        self.head, self.apart = head, False
        object.__setattr__(head, "logits_here", self.here)  # ``traits.logits_here`` reads it

    def here(self, *args: object, **kwargs: object) -> tuple[Tensor, dist.ProcessGroup]:
        self.apart = True
        try:
            return self.head(*args, **kwargs), self.group
        finally:
            self.apart = False

    def close(self, output: Tensor) -> Tensor:
        return output if self.apart else joined(output, self.group)
