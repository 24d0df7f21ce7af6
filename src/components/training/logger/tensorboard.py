"""TensorBoard through Lightning's logger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.core.registry import register


@register("logger", "tensorboard")
class TensorBoard:
    """TensorBoard beside metrics.csv, in the run's folder.

    Args:
        folder: of the run, or None on ranks that write nothing.
    """

    provides = ("any_figure",)

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def begin(self) -> Any:
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(str(self.folder or "."), name="", version="tensorboard", default_hp_metric=False)
