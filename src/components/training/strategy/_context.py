"""A model whose ranks have a stretch of each row: most parts work on each position alone, attention reads the keys of all ranks before, and a recurrence goes
on from the state that the rank before has left.

To a part it is what decoding is: a ``Cache`` that knows earlier positions. What can be decoded token by token can be trained in this way; nothing else is
asked of it. Liu et al. 2023, arXiv:2310.01889, with the keys gathered as in Llama 3 2024, arXiv:2407.21783, 3.3.2.
"""

# ruff: noqa: ARG002  torch's hooks have fixed arguments
from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from components.core.collectives import sum_within
from components.core.errors import UserError
from components.core.sockets import Batch, SequenceInfo, Terms
from components.core.traits import each_turn, lacks, number_reader, provides, reads_source
from components.core.weights import roles
from components.training.strategy._handed import Handed, Line, Neighbours
from components.training.strategy._sums import added, gathered

INSTEAD = "take another strategy, or leave that part out"


class Rows:
    """What parts take for a cache: the other ranks' stretches of the same rows. ``group`` None: there are none, to see who can read a stretch.

    Args:
        group: the ranks that have a stretch each.
        before: describes the positions up to the end of this rank's stretch.
        line: hands states on.
    """

    length, uneven = 0, False

    def __init__(
        self, group: dist.ProcessGroup | None = None, before: SequenceInfo | None = None, line: Line | None = None
    ) -> None:
        self.group, self.before, self.line = group, before, line

    def open(self, info: SequenceInfo) -> None:
        pass

    def slot(self, module: nn.Module, visit: int = 0) -> Stretch:
        return Stretch(self, {} if self.line is None else Handed(self.line, module, visit))


class Stretch:
    """One module's keys and values, and its state."""

    def __init__(self, rows: Rows, state: dict[str, Any]) -> None:
        self.rows, self.state = rows, state

    def append(self, k: Tensor, v: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor, SequenceInfo]:
        group, before = self.rows.group, self.rows.before
        if group is None or before is None:
            return k, v, info
        return gathered(k, group), gathered(v, group), before


def check_rows(model: nn.Module, size: int) -> None:
    """UserError unless ``size`` ranks can have a stretch of each row of the model, which may be on the meta device."""
    check_stretches(model)
    check_length(model, size)


def check_length(model: nn.Module, size: int) -> None:
    """UserError unless a row divides into so many stretches."""
    context: Any = model.context_length
    if context % size:
        raise UserError(
            "model.context_length", f"{context} positions do not divide into {size} stretches", f"take a multiple of {size}"
        )


def check_stretches(model: nn.Module) -> None:
    """UserError unless every part can read a stretch of a row, however many there are."""
    if not provides(model, "causal") or reads_source(model):
        raise UserError("trainer.strategy", f"{type(model).__name__} does not read its rows from left to right", INSTEAD)
    for path, module in model.named_modules():
        if lacks(module, "cacheable"):
            raise UserError(path, f"{type(module).__name__} reads a whole row at once", INSTEAD)
    for weight in roles(model):
        if len(weight.axes) > 1 and weight.axes[0] == "experts":
            raise UserError(weight.name, "a mixture balances its load over whole rows", INSTEAD)
    reader = number_reader(model)
    with torch.no_grad(), FakeTensorMode():  # shapes alone: no weight need be there
        held = {n: torch.empty(x.shape, dtype=x.dtype) for n, x in (*model.named_parameters(), *model.named_buffers())}
        values = None if reader is None else torch.zeros(1, 2, reader.d_in)
        batch = Batch(torch.zeros(1, 2, dtype=torch.long), values=values)
        for _ in each_turn(model):
            functional_call(model, held, (batch, lambda *_: Terms()), {"cache": Rows()})


class Stretches:
    """Hooks around a model: in training it reads this rank's stretch of each row, and its sums are those of all ranks.

    Without an objective, without gradients or with a cache of the caller's it reads whole rows, on each rank alike.
    """

    def __init__(self, model: nn.Module, group: dist.ProcessGroup) -> None:
        self.group, self.cut, self.neighbours = group, False, Neighbours(group)
        model.register_forward_pre_hook(self.before, with_kwargs=True)
        model.register_forward_hook(self.after)

    def before(
        self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]] | None:
        batch = args[0] if args else kwargs.get("batch")
        objective = args[1] if len(args) > 1 else kwargs.get("objective")
        self.cut = objective is not None and kwargs.get("cache") is None and torch.is_grad_enabled()
        if not self.cut or not isinstance(batch, Batch):
            return None
        size, rank = dist.get_world_size(self.group), dist.get_rank(self.group)
        length = batch.ids.shape[1]
        if length % size:
            raise UserError(
                "trainer.strategy", f"a row of {length} positions does not divide into {size} stretches", "let rows be alike"
            )
        if batch.positions is not None and batch.documents is None:
            raise UserError(
                "trainer.strategy", "positions begin anew within a row, and nothing says of which document they are", INSTEAD
            )
        info = SequenceInfo.of(batch, causal=True)
        batch = replace(batch, positions=info.placed())
        start, end = rank * length // size, (rank + 1) * length // size
        known = columns(batch, 0, end)
        before = SequenceInfo(positions=known.positions, documents=known.documents, valid=known.valid, causal=True)
        rows = (batch.ids.shape, batch.documents is None, batch.valid is None)
        self.line = Line(self.neighbours, rows, batch.ids.device)
        return (columns(batch, start, end), objective), {"cache": Rows(self.group, before, self.line)}

    def after(self, module: nn.Module, args: object, output: object) -> object:
        if not self.cut or not isinstance(output, Terms):
            return None
        tied = sum(self.line.tokens, torch.zeros((), device=next(iter(output.losses.values()))[0].device))
        losses = {n: (added(value, self.group) + tied, sum_within(w, self.group)) for n, (value, w) in output.losses.items()}
        return Terms(losses, {n: sum_within(x.detach(), self.group) for n, x in output.stats.items()}, output.aim)


def columns(batch: Batch, start: int, end: int) -> Batch:
    """The same rows, of each only the places from ``start`` to ``end``."""
    held = {f.name: getattr(batch, f.name) for f in fields(batch)}
    cut: dict[str, Any] = {n: v[:, start:end] if isinstance(v, Tensor) and v.dim() > 1 else v for n, v in held.items()}
    return Batch(**cut)
