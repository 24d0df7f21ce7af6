"""One forward pass, listened to: which part was called when, with what, and what the kernels inside were asked to compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from components.core import registry
from components.core.registry import Entry
from components.core.sockets import Layer, SequenceInfo
from components.functional.watch import watching

KEPT = ("embedding", "attention", "ffn", "router", "head", "pooling")  # kinds whose inputs and outputs are kept


@dataclass
class Heard:
    """What one kernel was asked: ``word`` and ``found`` as ``functional.watch`` lists them; ``backwards``: the sequence was turned round."""

    word: str
    found: dict[str, Any]
    backwards: bool


@dataclass(eq=False)  # two calls are never the same, whatever is in them
class Call:
    """One call of a part. ``inside``: the path of the attention, or the layer, that was running."""

    path: str
    module: nn.Module
    kind: str
    x: Any
    y: Any = None
    info: SequenceInfo | None = None
    heard: list[Heard] = field(default_factory=list)
    layer: int | None = None  # index into ``Recorder.layers``
    within: str = ""
    begin: Any = None  # the state that a recurrence was handed

    def run(self, x: Tensor, info: SequenceInfo, begin: Any = None) -> Tensor:
        """The part once more, of other inputs."""
        return self.module(x, info) if self.begin is None else self.module.carried(x, info, begin)[0]  # type: ignore[operator]


class Recorder:
    """Hooks on every part of ``model`` while ``listening()``; what was heard stays in ``calls``, ``layers`` and ``linears``, in order.

    Args:
        model: any; parts are found by their registered classes, layers by ``Layer``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.entries = entries_of(model)
        self.calls: list[Call] = []
        self.layers: list[Call] = []
        self.linears: list[Call] = []
        self.order: dict[str, int] = {}  # path -> number of its first call
        self.bytes: dict[str, int] = {}  # path -> bytes of what it gave, over all its calls
        self.shapes: dict[str, list[int]] = {}
        self._running: list[Call] = []
        self._layer: int | None = None

    @contextmanager
    def listening(self) -> Iterator[Recorder]:
        with ExitStack() as stack:
            for path, module in self.model.named_modules():
                # a plain module that stands in a part's place is kept like one of ours
                kind = self.kind_at(path)
                if kind == "attention" and callable(getattr(module, "carried", None)):
                    stack.enter_context(self._carrying(path, module, kind))
                elif kind or isinstance(module, (Layer, nn.Linear)):
                    before, after = self._before(path, module, kind), self._after(path, module)
                    stack.callback(module.register_forward_pre_hook(before).remove)
                    stack.callback(module.register_forward_hook(after).remove)
            stack.enter_context(watching(self.hear))
            yield self

    def kind_at(self, path: str) -> str:
        """The kind of the part at ``path``: by its registered class, or by its place in a block; empty for what is no part."""
        if path in self.entries:
            return self.entries[path].kind
        name = path.rpartition(".")[2]
        place = {"attention": "attention", "cross": "attention", "ffn": "ffn"}.get(name, "")
        return place if place and ".block." in f".{path}" else ""

    def hear(self, word: str, **found: Any) -> None:
        """What ``functional.watch`` tells."""
        running = [c for c in self._running if c.kind == "attention"]
        if running:  # the outermost attention is the one that a block called
            backwards = sum(bool(getattr(c.module, "reads_backwards", False)) for c in running) % 2 == 1
            running[0].heard.append(Heard(word, found, backwards))

    def of_kind(self, kind: str) -> list[Call]:
        """Calls of the outermost parts of a kind: not of one inside another of its kind."""
        inner = {id(c) for c in self.calls if any(c.path.startswith(o.path + ".") for o in self.calls if o.kind == kind)}
        return [c for c in self.calls if c.kind == kind and id(c) not in inner]

    @contextmanager
    def _carrying(self, path: str, module: nn.Module, kind: str) -> Iterator[None]:
        """A recurrence whose state is handed on is called by its method ``carried``, which no hook sees, and calls it itself."""
        before, after, carried = self._before(path, module, kind), self._after(path, module), module.carried

        def heard(x: Tensor, info: SequenceInfo, begin: Any = None) -> Any:
            before(module, (x, info))
            self._running[-1].begin = begin
            y = carried(x, info, begin)  # type: ignore[operator]
            after(module, (x, info), y[0])
            return y

        module.carried = heard  # type: ignore[assignment]
        try:
            yield
        finally:
            del module.carried

    def _before(self, path: str, module: nn.Module, kind: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            self.order.setdefault(path, len(self.order))
            info = next((a for a in args[1:] if isinstance(a, SequenceInfo)), None)
            within = self._running[-1].path if self._running else ""
            call = Call(path, module, kind, args[0] if args else None, info=info, layer=self._layer, within=within)
            if isinstance(module, Layer):
                self._layer = call.layer = len(self.layers)
                self.layers.append(call)
            elif isinstance(module, nn.Linear) and not kind:
                self.linears.append(call)
            elif kind in KEPT:
                self.calls.append(call)
            self._running.append(call)

        return hook

    def _after(self, path: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
            call = self._running.pop()
            call.y = output[0] if isinstance(module, Layer) else output
            if isinstance(module, Layer):
                self._layer = None
            given = call.y
            if isinstance(given, Tensor):
                self.bytes[path] = self.bytes.get(path, 0) + given.numel() * given.element_size()
                self.shapes[path] = list(given.shape)

        return hook


def entries_of(model: nn.Module) -> dict[str, Entry]:
    """{path: entry} of every module whose class is a registered part, presets told by the part that they spell out."""
    known = {(e.module, e.qualname): e for e in registry.entries().values() if not e.preset_of}
    found = {}
    for path, module in model.named_modules():
        entry = known.get((type(module).__module__, type(module).__qualname__))
        if entry is not None:
            found[path] = entry
    return found


@contextmanager
def plainly(model: nn.Module) -> Iterator[None]:
    """In eval mode, uncompiled and without checkpointing; every module back to its own afterwards."""
    training = [m for m in model.modules() if m.training]
    saved = [m for m in model.modules() if getattr(m, "checkpointing", False)]
    model.eval()
    for m in saved:
        m.checkpointing = False  # type: ignore[assignment]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for m in training:
            m.training = True
        for m in saved:
            m.checkpointing = True  # type: ignore[assignment]
