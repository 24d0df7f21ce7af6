"""One forward pass, recorded: which part was called when, with what, and what the kernels inside were asked to compute."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from components.core.contracts import complete
from components.core.parts_tree import entries_of
from components.core.recompute import Checkpointing
from components.core.sockets import Layer, SequenceInfo
from components.functional.watch import watching

KEPT = ("embedding", "attention", "ffn", "router", "head", "pooling")  # kinds whose inputs and outputs are kept
Arguments = dict[str, Any]  # of a kernel, by the names that functional/watch.py lists


@dataclass
class KernelCall:
    """What one kernel was asked.

    Args:
        word, found: what it computes and its arguments, as ``functional.watch`` lists them.
        backwards: whether it read the sequence from its end.
    """

    word: str
    found: Arguments
    backwards: bool


@dataclass(eq=False)  # two calls are never the same, whatever is in them
class Call:
    """One call of a part.

    Args:
        path, module, kind: of the part; ``kind`` is empty for a layer or an ``nn.Linear``.
        x, y: its first argument, and what it returned; of a layer the stream alone.
        info: the sequence that it was told of.
        kernels: of an attention, the kernels that it and what is in it called.
        layer: index into ``Recorder.layers`` of the layer that was running.
    """

    path: str
    module: nn.Module
    kind: str
    x: Any
    y: Any = None
    info: SequenceInfo | None = None
    kernels: list[KernelCall] = field(default_factory=list)
    layer: int | None = None


class Recorder:
    """Hooks on every part of ``model`` while ``listening()``.

    ``calls`` (of the kinds in ``KEPT``), ``layers`` and ``linears`` are in the order in which they began.

    Args:
        model: any; parts are found by their registered classes, layers by ``Layer``.
        every: keep what every module returned, in ``outputs``. Without gradients these are copies, so that what is written in place later
            does not change them; with gradients they are the tensors themselves.
    """

    def __init__(self, model: nn.Module, *, every: bool = False) -> None:
        self.model = model
        self.every = every
        self.outputs: dict[str, list[Any]] = {}  # path -> what each call returned
        self._copied: tuple[weakref.ref[Tensor], int, Tensor] | None = None  # the newest: (tensor, its version, the copy)
        self.entries = entries_of(model)
        self.calls: list[Call] = []
        self.layers: list[Call] = []
        self.linears: list[Call] = []
        self.order: dict[str, int] = {}  # path -> number of its first call
        self.bytes: dict[str, int] = {}  # path -> bytes of what it returned, over all its calls
        self.shapes: dict[str, list[int]] = {}  # path -> shape of what it returned last
        self._running: list[Call] = []
        self._layer: int | None = None

    @contextmanager
    def listening(self) -> Iterator[Recorder]:
        with ExitStack() as stack:
            for path, module in self.model.named_modules():
                # a plain module that stands in a part's place is kept like one of ours
                kind = self.kind_at(path)
                complete(module, kind)  # nothing, for a part that ``make`` made
                if self.every or kind or isinstance(module, (Layer, nn.Linear)):
                    before, after = self._before(path, module, kind), self._after(path, module)
                    stack.callback(module.register_forward_pre_hook(before).remove)
                    stack.callback(module.register_forward_hook(after).remove)
            stack.enter_context(watching(self.record))
            yield self

    def kind_at(self, path: str) -> str:
        """The kind of the part at ``path``: by its registered class, or by its place in a block. Empty where no part stands."""
        if path in self.entries:
            return self.entries[path].kind
        name = path.rpartition(".")[2]
        place = {"attention": "attention", "cross": "attention", "ffn": "ffn"}.get(name, "")
        return place if place and ".block." in f".{path}" else ""

    def record(self, word: str, **found: object) -> None:
        """The listener of ``functional.watch``."""
        running = [c for c in self._running if c.kind == "attention"]
        if running:  # the outermost attention is the one that a block called
            backwards = sum(bool(c.module.reads_backwards) for c in running) % 2 == 1
            running[0].kernels.append(KernelCall(word, found, backwards))

    def of_kind(self, kind: str) -> list[Call]:
        """Calls of the parts of a kind that stand in no other part of this kind."""
        inner = {id(c) for c in self.calls if any(c.path.startswith(o.path + ".") for o in self.calls if o.kind == kind)}
        return [c for c in self.calls if c.kind == kind and id(c) not in inner]

    def _before(self, path: str, module: nn.Module, kind: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[object, ...]) -> None:
            self.order.setdefault(path, len(self.order))
            info = next((a for a in args[1:] if isinstance(a, SequenceInfo)), None)
            call = Call(path, module, kind, args[0] if args else None, info=info, layer=self._layer)
            if isinstance(module, Layer):
                call.x = self._kept(call.x)
                self._layer = call.layer = len(self.layers)
                self.layers.append(call)
            elif isinstance(module, nn.Linear) and not kind:
                self.linears.append(call)
            elif kind in KEPT:
                self.calls.append(call)
            self._running.append(call)

        return hook

    def _after(self, path: str, module: nn.Module) -> Callable[..., None]:
        def hook(_: nn.Module, args: object, output: Any) -> None:  # noqa: ARG001
            call = self._running.pop()
            call.y = self._kept(output[0] if isinstance(module, Layer) else output)
            if self.every:
                self.outputs.setdefault(path, []).append(call.y)
            if isinstance(module, Layer):
                self._layer = None
            if isinstance(call.y, Tensor):
                self.bytes[path] = self.bytes.get(path, 0) + call.y.numel() * call.y.element_size()
                self.shapes[path] = list(call.y.shape)

        return hook

    def _kept(self, found: Any) -> Any:
        """``found`` with copies of its tensors, where they are kept. A module that returns what the last one returned gets the same copy."""
        return tree_map_only(Tensor, self._copy, found) if self.every and not torch.is_grad_enabled() else found

    def _copy(self, x: Tensor) -> Tensor:
        if x.is_inference():  # has no version, so nothing tells whether it was written in place
            return x.clone()
        if self._copied is not None and self._copied[0]() is x and self._copied[1] == x._version:
            return self._copied[2]
        self._copied = (weakref.ref(x), x._version, x.clone())
        return self._copied[2]


@contextmanager
def eval_uncompiled(model: nn.Module) -> Iterator[None]:
    """Eval mode, no compiled code, no checkpointing. Afterwards every module is as it was."""
    training = [m for m in model.modules() if m.training]
    layers = [m for m in model.modules() if isinstance(m, Layer) and m.checkpointing]
    saved: list[Checkpointing] = [m.checkpointing for m in layers]
    model.eval()
    for layer in layers:
        layer.checkpointing = False
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for m in training:
            m.training = True
        for layer, before in zip(layers, saved, strict=True):
            layer.checkpointing = before
