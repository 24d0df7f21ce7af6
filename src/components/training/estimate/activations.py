"""What a forward pass keeps for the backward pass, and what comes on top meanwhile: an estimate, from a run of shapes without numbers.

One layer of each kind runs alone, forward and backward, on fake tensors; a model of 80 equal layers costs what one of two does. Kernels are those of a CPU: on
an accelerator a fused kernel may keep less. Where devices hold each layer together, it is the piece of one of them, in a group that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import astuple, dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from components.core.errors import UserError
from components.core.meta import emptied
from components.core.sockets import Batch, Layer, SequenceInfo, Terms
from components.core.traits import each_turn, number_reader
from components.functional.cross_entropy import cross_entropy
from components.functional.experts import even_loads
from components.training.estimate.layouts import Layout
from components.training.estimate.live import Live, of_this_rank
from components.training.estimate.state import meshed
from components.training.estimate.stretches import LastStretch
from components.training.float8 import float8_maps, multiply_in_float8
from components.training.strategy._tensor import hold_together

Objective = Callable[[Tensor, object, Batch], Terms]
Kind = tuple[object, ...]
Written = dict[str, object]  # beside the stream, by its name


@dataclass(frozen=True)
class Pass:
    """Bytes of one layer in one micro-batch.

    Args:
        leaving: what it hands to the next layer.
        kept: what is there after its forward pass, ``leaving`` included.
        forward: the most during its forward pass.
        backward: the most during its backward pass, ``kept`` and the gradients of its weights included.
        weights, trained: elements of its weights, or of their pieces, and of those that learn.
        rounded: elements of those that are multiplied in fp8: autocast keeps no copy of them.
        gathered: keys and values of all devices that share the rows.
    """

    leaving: int
    kept: int
    forward: int
    backward: int
    weights: int
    trained: int
    gathered: int = 0
    rounded: int = 0


@dataclass(frozen=True)
class Activations:
    """Bytes of one micro-batch on one rank.

    Args:
        layers: in the order in which they run.
        kept: by what is outside of layers: embedding, final norm, head and loss.
        forward: the most during the forward pass of these.
    """

    layers: tuple[Pass, ...]
    kept: int
    forward: int

    def total(self, *, checkpointing: bool = False) -> int:
        """What is kept when the backward pass begins."""
        return self.kept + sum(p.leaving if checkpointing else p.kept for p in self.layers)


class Shapes:
    """A model on fake tensors, run as often as asked: to build one of 80 layers takes longer than to run its shapes.

    Args:
        model: on the meta device; it is used up.
        layout: says the precision, how many devices share a row, and how many hold each layer together.
    """

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        self.layout, self.mode = layout, FakeTensorMode()
        model = model.to(layout.stored if layout.casts else layout.compute)
        with self.mode:
            self.model = emptied(model).train()
            self.rounded = {id(m.weight) for _, m in float8_maps(self.model)} if layout.float8 else set()
            if layout.float8:
                multiply_in_float8(self.model, emulate=False)

    @contextmanager
    def opened(self) -> Iterator[Shapes]:
        """Inside of it they run; once, where devices hold each layer together.

        Raises:
            UserError: a part does not divide among these, or this process is one of a real group.
        """
        if self.layout.tensor == 1:
            yield self
            return
        with meshed(self.layout) as mesh:
            assert mesh is not None
            with self.mode:
                hold_together(
                    self.model,
                    mesh["tensor"],
                    expert_parallel=self.layout.expert_parallel,
                    sequence_parallel=self.layout.sequence_parallel,
                )
            yield self

    def activations(self, objective: Objective, rows: int, context: int, *, apart: bool = False) -> Activations:
        """Those of ``rows`` sequences of ``context`` tokens; of a stretch of them where devices share rows, the last one's.

        Args:
            objective, rows, context: the loss, and what the micro-batch holds.
            apart: its rows hold documents that do not see one another, for which kernels of a CPU make masks.

        Raises:
            UserError: a part reads numbers, so that it cannot run on shapes alone.
        """
        try:
            with self.mode, even_loads():
                batch = batch_of(self.model, rows, context // self.layout.context, apart=apart)
                try:
                    return _Run(self.layout, self.rounded).through(self.model, objective, batch)
                except DynamicOutputShapeException:
                    return _Run(self.layout, self.rounded).through(self.model, asked_everywhere, batch)
        except UserError:
            raise
        except Exception as e:  # whatever a part does with numbers that are not there
            raise UserError("activations", f"cannot be told from shapes alone: {type(e).__name__}: {e}") from e


def asked_everywhere(hidden: Tensor, head: object, batch: Batch) -> Terms:
    """In the place of a loss that picks its targets by what they are: as if each position had one."""
    logits = cast(Callable[[Tensor], Tensor], head)(hidden)
    assert batch.targets is not None
    loss, _ = cross_entropy(logits.flatten(0, -2), batch.targets.flatten())
    return Terms({"loss": (loss, torch.ones(()))})


def batch_of(model: nn.Module, rows: int, context: int, *, apart: bool = False) -> Batch:
    """Tokens and targets of a step's shapes, on the device of the context."""
    ids = torch.zeros(rows, context, dtype=torch.long)
    source = Batch(torch.zeros_like(ids)) if any(name == "encoder" for name, _ in model.named_children()) else None
    reader = number_reader(model)
    values = None if reader is None else torch.zeros(rows, context, reader.d_in)
    zeros = torch.zeros_like(ids)
    return Batch(ids, targets=zeros, source=source, values=values, documents=zeros.clone() if apart else None)


@dataclass
class _Run:
    """One pass through a model whose layers are measured one of each kind, and passed over otherwise."""

    layout: Layout
    rounded: set[int]
    found: dict[Kind, Pass] = field(default_factory=dict)
    order: list[Kind] = field(default_factory=list)
    stretch: LastStretch | None = None

    def through(self, model: nn.Module, objective: Objective, batch: Batch) -> Activations:
        live = Live((*model.parameters(), *model.buffers(), *tree_leaves(batch)))
        for layer in model.modules():
            if isinstance(layer, Layer):
                layer.forward = self.in_place_of(layer, live)  # type: ignore[method-assign]  # until the next run
        if self.layout.context > 1:
            self.stretch = LastStretch(self.layout.context, *batch.ids.shape)
        with live, self.cast():
            terms = model(batch, objective, cache=self.stretch)
        held = live.now
        del terms
        return Activations(tuple(self.found[kind] for kind in self.order), held, live.peak)

    def cast(self) -> AbstractContextManager[object]:
        return torch.autocast("cpu", self.layout.compute) if self.layout.casts else nullcontext()

    def in_place_of(self, layer: Layer, live: Live) -> Callable[[Tensor, SequenceInfo], tuple[Tensor, Written]]:
        kind, written = kind_of(layer), Written()

        def forward(s: Tensor, info: SequenceInfo) -> tuple[Tensor, Written]:
            self.order.append(kind)
            if kind in self.found:
                return s, written
            live.paused = True
            turns = [self.measured(layer, s, info) for _ in each_turn(layer)]
            self.found[kind], out = most([held for held, _ in turns]), turns[0][1]
            live.paused = False
            written.update(out)
            return s, written

        return forward

    def measured(self, layer: Layer, s: Tensor, info: SequenceInfo) -> tuple[Pass, Written]:
        """The layer alone, forward and backward, and what it writes beside the stream."""
        x = s.detach().requires_grad_(s.is_floating_point())
        before = (*layer.parameters(), *layer.buffers(), *_tensors(info), x)
        began = 0 if self.stretch is None else self.stretch.gathered
        with torch.autocast("cpu", enabled=False), torch.enable_grad(), Live(before) as live:
            with self.cast():
                y, out = layer._run(x, info)
            leaving, kept, forward = y.numel() * y.element_size(), live.now, live.peak
            live.peak = live.now
            aims = [t for t in (y, *_losses(out)) if t.requires_grad]
            written = tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, out)
            torch.autograd.backward(aims, [torch.zeros_like(t) for t in aims])
        for p in layer.parameters():
            p.grad = None
        weights = [(of_this_rank(p).numel(), p.requires_grad) for p in layer.parameters()]
        elements, trained = sum(n for n, _ in weights), sum(n for n, learns in weights if learns)
        gathered = 0 if self.stretch is None else self.stretch.gathered - began
        rounded = sum(p.numel() for p in layer.parameters() if id(p) in self.rounded)
        return Pass(leaving, kept, forward, live.peak, elements, trained, gathered, rounded), cast(Written, written)


def most(passes: Sequence[Pass]) -> Pass:
    """Of a layer whose parts take turns: the most of each figure, whichever turn it is of."""
    return Pass(*(max(figures) for figures in zip(*(astuple(p) for p in passes), strict=True)))


def _losses(out: Mapping[str, object]) -> Iterator[Tensor]:
    for name, value in out.items():
        if name.startswith("loss."):
            total, _ = cast(tuple[Tensor, Tensor], value)
            yield total


def _tensors(info: SequenceInfo) -> list[Tensor]:
    """All that it holds, what is remembered within a forward pass too."""
    return [leaf for leaf in tree_leaves(info) if isinstance(leaf, Tensor)]


def kind_of(layer: Layer) -> Kind:
    """Equal for layers of the same parts in the same shapes."""
    return tuple((path, type(m).__name__, *_own(m)) for path, m in layer.block.named_modules())


def _own(module: nn.Module) -> Iterator[object]:
    for name, p in module.named_parameters(recurse=False):
        yield name, tuple(p.shape), p.requires_grad
    for name, value in vars(module).items():
        if not name.startswith("_") and name != "part_path":
            yield name, value if isinstance(value, (int, float, str, bool)) else type(value).__name__
