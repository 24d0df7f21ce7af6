"""Which part first made a number that is not finite: a step's batch is run once more, with hooks on every module of the model.

Forward, the first module whose output is not finite has made it: modules inside another return before it does. Backward, it is the module that got
finite gradients and hands on others. Each module reads its inputs through a view of its own, so that a gradient belongs to it alone and not to all that
read the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.hooks import RemovableHandle

from components.core.recompute import Checkpointing
from components.core.sockets import Layer


@dataclass(frozen=True)
class FirstFault:
    """Where it began.

    Args:
        part: the path of the module in the model, or a weight's name.
        what: ``weight``, ``output``, ``gradient`` or ``weight's gradient``, of which a rank can have one from another rank.
        rows: of the micro-batch, those that have it; empty where that cannot be told.
    """

    part: str
    what: str
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"the weight {self.part}" if self.what == "weight" else f"the {self.what} of {self.part}"

    @property
    def rank(self) -> int:
        """The smaller, the nearer to where it began."""
        return ("weight", "output", "gradient", "weight's gradient").index(self.what)


@dataclass
class _Seen:
    """What hooks have noted of one module: its place in the forward pass, and when gradients came that are not finite."""

    outputs: bool = False  # a gradient of its outputs was not finite
    inputs: int | None = None  # when one of its inputs was the first


@dataclass
class _Watch:
    """Hooks on all modules, and what they see in one forward and one backward pass."""

    model: nn.Module
    rows: int
    forward: FirstFault | None = None
    seen: dict[str, _Seen] = field(default_factory=dict)
    events: int = 0

    def hooks(self) -> Iterator[RemovableHandle]:
        for path, module in self.model.named_modules():
            name = shown(path)
            yield module.register_forward_pre_hook(self._before(name), with_kwargs=True)
            yield module.register_forward_hook(self._after(name))

    def _before(self, name: str) -> Callable[..., tuple[tuple[object, ...], dict[str, object]]]:
        def before(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[tuple, dict]:
            del module
            return tuple(self._own(name, a) for a in args), {n: self._own(name, a) for n, a in kwargs.items()}

        return before

    def _own(self, name: str, value: object) -> object:
        """The tensor as this module's own view of it, whose gradient is what this module gives back."""
        if not isinstance(value, Tensor) or not value.requires_grad or not value.is_floating_point():
            return value
        own = value.view_as(value)

        def left(grad: Tensor) -> None:
            seen = self.seen.setdefault(name, _Seen())
            if seen.inputs is None and not finite(grad):
                self.events += 1
                seen.inputs = self.events

        own.register_hook(left)
        return own

    def _after(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def came(grad: Tensor) -> None:
            if not finite(grad):
                self.seen.setdefault(name, _Seen()).outputs = True

        def after(module: nn.Module, args: object, output: object) -> None:
            del module, args
            for value in tensors_in(output):
                if self.forward is None and not finite(value):
                    self.forward = FirstFault(name, "output", rows_of(value, self.rows))
                if value.requires_grad:
                    with suppress(RuntimeError):  # a tensor that allows no hook
                        value.register_hook(came)

        return after

    def backward(self) -> FirstFault | None:
        """The module whose gradients were finite when they came, and were not when they left: the earliest."""
        made = [(s.inputs, name) for name, s in self.seen.items() if s.inputs is not None and not s.outputs]
        if made:
            return FirstFault(min(made)[1], "gradient")
        for name, p in self.model.named_parameters():
            owner = self.seen.get(shown(name.rpartition(".")[0]), _Seen())
            if p.grad is not None and not owner.outputs and not finite(p.grad):
                return FirstFault(shown(name), "weight's gradient")
        return None


def first_fault(model: nn.Module, loss: Callable[[], Tensor], rows: int) -> FirstFault | None:
    """Where a number that is not finite comes from, or None if there is none on this rank. It leaves no gradient behind.

    Args:
        model: whose weights are looked at first.
        loss: runs the model on a micro-batch, and gives its share of the step's loss. All ranks call this equally often.
        rows: of the micro-batch.
    """
    weight = next((shown(n) for n, p in model.named_parameters() if not finite(p)), None)
    watch = _Watch(model, rows)
    forget_gradients(model)
    with eager(model), torch.enable_grad():
        handles = list(watch.hooks())
        try:
            value = loss()
            if watch.forward is None and not finite(value):
                watch.forward = FirstFault("the loss", "output")
            value.backward()
            found = watch.forward or watch.backward()
        finally:
            for handle in handles:
                handle.remove()
            forget_gradients(model)
    return found if weight is None else FirstFault(weight, "weight")


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Inside the block no layer runs what was compiled, or recomputes: hooks see each module once."""
    layers = [m for m in model.modules() if isinstance(m, Layer)]
    compiled = [m._compiled_call_impl for m in layers]
    checkpointing: list[Checkpointing] = [m.checkpointing for m in layers]
    for m in layers:
        m._compiled_call_impl, m.checkpointing = None, False
    try:
        yield
    finally:
        for m, code, again in zip(layers, compiled, checkpointing, strict=True):
            m._compiled_call_impl, m.checkpointing = code, again


def forget_gradients(model: nn.Module) -> None:
    for p in model.parameters():
        p.grad = None


def finite(value: Tensor) -> bool:
    """Whether every number of it is, of a shard those that this rank has."""
    held = value.detach()
    held = held.to_local() if isinstance(held, DTensor) else held
    return not held.is_floating_point() or bool(torch.isfinite(held).all())


def rows_of(value: Tensor, rows: int) -> tuple[int, ...]:
    """The rows of a batch of ``rows`` in which ``value`` has a number that is not finite; empty if it is not laid out by rows, or all have one."""
    if value.dim() < 2 or value.shape[0] % rows or isinstance(value, DTensor):
        return ()
    bad = ~torch.isfinite(value.detach()).reshape(rows, -1).all(1)
    return () if bool(bad.all()) else tuple(int(i) for i in bad.nonzero().flatten())


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors with a fraction that a module returns, alone, in tuples or in mappings."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors_in(one)
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))


def shown(path: str) -> str:
    """The path of a module as ``components show`` has it: a layer and its block are one. Empty is the model."""
    return ".".join(p for p in path.split(".") if p not in ("block", "_checkpoint_wrapped_module")) or "the model"
