"""What a strategy says it means, so that nobody asks for its class: a part of the kind ``strategy`` that differs says so itself.

``shards_weights``: no rank holds whole weights, so all ranks take part in whatever reads them; it has ``shard(model)``.
``whole_checkpoints``: a checkpoint is one ordinary file, although the strategy has a way of its own to save.
``left_to_trainer``: the precision that is left to Lightning, where the strategy does a part of it by itself.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy


def shards_weights(strategy: Any) -> bool:
    return getattr(strategy, "shards_weights", False)


def saves_by_itself(strategy: Strategy) -> bool:
    """Whether a checkpoint is what the strategy makes of it, a folder of shards perhaps."""
    own = type(strategy).save_checkpoint is not Strategy.save_checkpoint
    return own and not getattr(strategy, "whole_checkpoints", False)


def left_to_trainer(strategy: Any, precision: str) -> str:
    """The precision that Lightning's Trainer is given beside the strategy."""
    return getattr(strategy, "left_to_trainer", precision)


def data_ranks(trainer: Trainer) -> tuple[int, int]:
    """(rank, size) among those that read different data."""
    strategy = trainer.strategy
    if isinstance(strategy, ModelParallelStrategy):  # Lightning's class for all that have a mesh
        assert strategy.device_mesh is not None
        mesh = strategy.device_mesh["data_parallel"]
        return mesh.get_local_rank(), mesh.size()
    return trainer.global_rank, trainer.world_size
