"""MLflow: what a config can say of it. What it does is in ``training/mlflow.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from components.core.config_types import Config
from components.core.registry import register


@register("logger", "mlflow")
class MLflow:
    """MLflow beside metrics.csv: the database that ``tracking_uri`` names, else one file beside the runs. A run that goes on continues its MLflow run.

    Args:
        folder: of the run, or None on ranks that write nothing.
        config: of the run, which MLflow shows.
        say: prints.
        tracking_uri: a server or a database; null: that of MLFLOW_TRACKING_URI, without it ``mlflow.db`` in the folder of runs.
        experiment: runs of one experiment are shown together; null: that of MLFLOW_EXPERIMENT_NAME, without it lightning-components.
        run_name: null: the recipe and the time.
        tags: names with values to find the run by.
        checkpoint: send the best checkpoint's file as an artifact.
        lineage: show what the run has read and left: data, the best checkpoint, exports, by their sums.
    """

    provides = ("any_figure",)

    def __init__(
        self,
        folder: Path | None,
        config: Config,
        say: Callable[[str], None],
        *,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        run_name: str | None = None,
        tags: dict | None = None,
        checkpoint: bool = False,
        lineage: bool = False,
    ) -> None:
        self.folder, self.config, self.say = folder, config, say
        self.tracking_uri, self.experiment, self.run_name, self.tags = tracking_uri, experiment, run_name, tags
        self.checkpoint, self.lineage = checkpoint, lineage

    def begin(self) -> object:
        from components.training.mlflow import begun

        return begun(
            self.folder,
            self.config,
            self.say,
            uri=self.tracking_uri,
            experiment=self.experiment,
            name=self.run_name,
            tags=self.tags,
            checkpoint=self.checkpoint,
            lineage=self.lineage,
        )

    def exported(self, checkpoint: Path, to: Path) -> None:
        """Show what was written to ``to`` from a checkpoint of the run."""
        if not self.lineage or self.folder is None:
            return
        from components.training.mlflow import place_of
        from components.training.mlflow_lineage import exported

        exported(place_of(self.folder, self.tracking_uri), self.folder, checkpoint, to, self.say)
