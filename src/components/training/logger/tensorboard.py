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
        step: that of the checkpoint that the run goes on from; figures of later steps, which are taken again, are no longer shown.
    """

    provides = ("any_figure",)

    def __init__(self, folder: Path | None, step: int | None = None) -> None:
        self.folder, self.step = folder, step

    def begin(self) -> Any:
        from lightning.pytorch.loggers import TensorBoardLogger

        purge = None if self.step is None else self.step + 1
        place = str(self.folder or ".")
        return TensorBoardLogger(place, name="", version="tensorboard", default_hp_metric=False, purge_step=purge)
