"""Folders of shards where Lightning expects one file: any strategy goes on from them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy

from components.runs import checkpoints, shards


class Folders(TorchCheckpointIO):
    """Lightning's way to read and write checkpoints, which also reads folders of shards."""

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, object]:
        """UserError for a folder that is damaged."""
        if shards.is_shards(Path(path)):
            return {**checkpoints.read(Path(path))}
        return super().load_checkpoint(path, cast(None, map_location), weights_only)


def read_folders(strategy: Strategy) -> None:
    """Let a strategy that reads checkpoints by Lightning's plugin read folders of shards as well."""
    if not isinstance(strategy, ModelParallelStrategy) and type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = Folders()
