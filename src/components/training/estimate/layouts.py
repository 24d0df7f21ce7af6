"""How a strategy lays weights out over devices, and the piece of a weight that one device holds: arithmetic over shapes, no device and no group of processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.placement_types import Placement, _StridedShard

from components.core.errors import UserError, nearest
from components.training.float8 import PRECISION as FLOAT8

KNOWN = ("single", "ddp", "fsdp2", "hsdp", "tp", "fsdp2_tp", "cp")
SHARDED = ("fsdp2", "hsdp", "fsdp2_tp", "cp")  # by fully_shard
MESHES = {
    "fsdp2": ("shards",),
    "hsdp": ("replicas", "shards"),
    "tp": ("tensor",),
    "fsdp2_tp": ("shards", "tensor"),
    "cp": ("shards", "context"),
}
PARALLEL = ("expert_parallel", "sequence_parallel")  # options of the strategies that cut matrices
PRECISIONS: Mapping[str, tuple[torch.dtype, torch.dtype]] = {
    "32-true": (torch.float32, torch.float32),
    "bf16-mixed": (torch.float32, torch.bfloat16),
    "16-mixed": (torch.float32, torch.float16),
    FLOAT8: (torch.float32, torch.bfloat16),  # and linear maps of layers in fp8
    "bf16-true": (torch.bfloat16, torch.bfloat16),
    "64-true": (torch.float64, torch.float64),
}  # what weights are held in, and what is multiplied in
SHORT = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # Lightning's other names


@dataclass(frozen=True)
class Layout:
    """Weights over devices. ``ranks = replicas * shards * tensor * context``.

    Args:
        strategy: one of ``KNOWN``.
        ranks: all devices.
        shards: devices over which each weight's first axis is spread by ``fully_shard``.
        tensor: devices that hold each layer together.
        replicas: groups that hold the same.
        precision: of the run, by Lightning's full name.
        context: devices that have a stretch each of the same rows.
        expert_parallel: experts are dealt out over the devices that hold a layer together, and not cut.
        sequence_parallel: these have a share each of the positions between what they hold in pieces.
    """

    strategy: str
    ranks: int = 1
    shards: int = 1
    tensor: int = 1
    replicas: int = 1
    precision: str = "32-true"
    context: int = 1
    expert_parallel: bool = False
    sequence_parallel: bool = False

    @property
    def stored(self) -> torch.dtype:
        """What weights, gradients and what follows them are held in."""
        return PRECISIONS[self.precision][0]

    @property
    def compute(self) -> torch.dtype:
        """What products are computed in."""
        return PRECISIONS[self.precision][1]

    @property
    def float8(self) -> bool:
        """Whether linear maps of layers are multiplied in fp8."""
        return self.precision == FLOAT8

    @property
    def axes(self) -> tuple[str, ...]:
        """The kinds of devices in the mesh that weights are laid out over, as the strategies have them; none where they are plain tensors."""
        return MESHES.get(self.strategy, ())

    @property
    def casts(self) -> bool:
        """Whether autocast keeps a narrow copy of each weight; shards are gathered in the narrow type instead."""
        return self.stored != self.compute and not ("shards" in self.axes and self.compute == torch.bfloat16)

    @property
    def gathered(self) -> torch.dtype:
        """What ``fully_shard`` gathers weights in."""
        return self.stored if self.casts else self.compute

    @property
    def readers(self) -> int:
        """Devices, or groups of them, that read rows of their own."""
        return self.ranks // (self.tensor * self.context)

    def named(self) -> str:
        """The override: ``trainer.strategy=...``."""
        sizes = {
            "hsdp": f"shard_size: {self.shards}",
            "fsdp2_tp": f"tensor_size: {self.tensor}",
            "cp": f"context_size: {self.context}",
        }
        options = [sizes[self.strategy]] if self.strategy in sizes else []
        options += [f"{option}: true" for option in PARALLEL if getattr(self, option)]
        name = "auto" if self.strategy == "single" else self.strategy
        return f"trainer.strategy={{name: {', '.join([name, *options])}}}" if options else f"trainer.strategy={name}"

    def local(self, shape: tuple[int, ...], cut: int | None, rank: int = 0) -> tuple[int, ...]:
        """The shape of the piece that ``rank`` holds. Pieces differ where an axis does not divide; rank 0 has a largest one.

        Args:
            shape: of the whole weight.
            cut: the dimension that devices which hold a layer together share; None: they hold all of it.
            rank: its place counts replicas first, then shards, then devices of one layer or of one row, as the strategies' meshes do.
        """
        held = list(shape)
        if cut is not None and self.tensor > 1:
            held[cut] = piece(held[cut], self.tensor, rank % self.tensor)
        if self.strategy in SHARDED and held:
            held[0] = piece(held[0], self.shards, rank // (self.tensor * self.context) % self.shards)
        return tuple(held)

    def placements(self, cut: int | None) -> list[Placement]:
        """Over the mesh of ``axes``."""
        strided = self.tensor > 1 and cut == 0
        own: dict[str, Placement] = {
            "shards": _StridedShard(0, split_factor=self.tensor) if strided else Shard(0),
            "tensor": Replicate() if cut is None else Shard(cut),
        }
        return [own.get(axis, Replicate()) for axis in self.axes]


def piece(length: int, parts: int, index: int) -> int:
    """How much of ``length`` the ``index``-th of ``parts`` gets, as ``torch.chunk`` deals it: all get the most until nothing is left."""
    most = -(-length // parts)
    return max(0, min(most, length - most * index))


def layout_of(trainer: Mapping[str, object], ranks: int, per_node: int | None = None) -> Layout:
    """What ``trainer.strategy`` and ``trainer.precision`` mean on so many devices.

    Args:
        trainer: the trainer's settings.
        ranks: all devices.
        per_node: devices of one machine.

    Raises:
        UserError: a strategy or a precision that is not planned, or groups that the devices do not divide into.
    """
    node = trainer.get("strategy") or "auto"
    options = dict(node) if isinstance(node, Mapping) else {"name": node}
    name = str(options.get("name"))
    precision = str(trainer.get("precision") or "32-true")
    precision = SHORT.get(precision, precision)
    if precision not in PRECISIONS:
        raise UserError("trainer.precision", f"{precision!r} is not planned", f"one of {', '.join(PRECISIONS)}")
    if name in ("auto", "single_device", "single"):
        name = "single" if ranks == 1 else "ddp"
    elif name.startswith("ddp"):
        name = "ddp"
    if name not in KNOWN:
        raise UserError("trainer.strategy", f"{name!r} is not planned", nearest(name, KNOWN, called="strategies"))
    shards = {"fsdp2": ranks, "hsdp": number(options, "shard_size") or per_node or ranks}.get(name, 1)
    tensor = {"tp": ranks, "fsdp2_tp": number(options, "tensor_size") or 2}.get(name, 1)
    context = number(options, "context_size") or ranks if name == "cp" else 1
    group, what = {"fsdp2_tp": (tensor, "tensor_size"), "cp": (context, "context_size")}.get(name, (shards, "shard_size"))
    if ranks % group:
        raise UserError(
            f"trainer.strategy.{what}",
            f"{ranks} devices are no whole number of groups of {group}",
            f"take one of {', '.join(str(n) for n in range(1, ranks + 1) if ranks % n == 0)}",
        )
    if name in ("fsdp2_tp", "cp"):
        shards = ranks // group
    said = {option: tensor > 1 and options.get(option) is True for option in PARALLEL}
    return Layout(name, ranks, shards, tensor, ranks // (shards * tensor * context), precision, context, **said)


def number(options: Mapping[str, object], name: str) -> int | None:
    value = options.get(name)
    return value if isinstance(value, int) else None
