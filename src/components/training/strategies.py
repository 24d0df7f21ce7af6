"""What a strategy says it means, so that nobody asks for its class: a part of the kind ``strategy`` that differs says so itself.

``shards_weights``: no rank holds whole weights, so all ranks take part in whatever reads them; it has ``shard(model)``.
``sharded``: each rank writes its own part of a checkpoint, by ``begin_shards`` and ``settle_shards``.
``whole_checkpoints``: a checkpoint is one ordinary file, although the strategy has a way of its own to save.
``left_to_trainer``: the precision that is left to Lightning, where the strategy does a part of it by itself.
``data_ranks()``: (rank, size) among the ranks that read different data, where some read the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import Strategy
from torch import nn

from components.core.contracts import Loss


class Sharding(Protocol):
    """A strategy that lays the weights of a model out over the ranks."""

    root_device: torch.device

    def shard(self, model: nn.Module, /) -> None: ...


@runtime_checkable
class ChecksLayout(Protocol):
    """A strategy that not every model can be laid out by."""

    def check_layout(self, model: nn.Module, devices: int, /) -> None: ...


@runtime_checkable
class ChecksLoss(Protocol):
    """A strategy that not every loss can be computed under."""

    def check_loss(self, loss: Loss, /) -> None: ...


@runtime_checkable
class SavesShards(Protocol):
    """A strategy whose ranks may each write their own part of a checkpoint."""

    @property
    def sharded(self) -> bool: ...
    def begin_shards(
        self, checkpoint: dict[str, object], folder: Path, publish: Callable[[], None], /
    ) -> tuple[str, str, str] | None: ...
    def settle_shards(self, within: float | None = None, /) -> tuple[str, str, str] | None: ...


def check_layout(strategy: object, model: nn.Module, devices: int, loss: Loss) -> None:
    """UserError if the strategy cannot lay the model out on so many devices, or not compute the loss; the model may be on the meta device."""
    if isinstance(strategy, ChecksLayout):
        strategy.check_layout(model, devices)
    if isinstance(strategy, ChecksLoss):
        strategy.check_loss(loss)


def shards_weights(strategy: object) -> TypeGuard[Sharding]:
    return getattr(strategy, "shards_weights", False)


def saving_shards(strategy: object) -> SavesShards | None:
    """The strategy, if a checkpoint is a folder of shards."""
    return strategy if isinstance(strategy, SavesShards) and strategy.sharded else None


def saves_by_itself(strategy: Strategy) -> bool:
    """Whether a checkpoint is what the strategy makes of it, a folder of shards perhaps."""
    own = type(strategy).save_checkpoint is not Strategy.save_checkpoint
    return own and not getattr(strategy, "whole_checkpoints", False)


def left_to_trainer(strategy: object, precision: str) -> str:
    """The precision that Lightning's Trainer is given beside the strategy."""
    return getattr(strategy, "left_to_trainer", precision)


def data_ranks(trainer: Trainer) -> tuple[int, int]:
    """(rank, size) among those that read different data: what the strategy says, else all ranks."""
    own: Any = getattr(trainer.strategy, "data_ranks", None)
    if own is None:
        return trainer.global_rank, trainer.world_size
    return own()
