"""MLflow through Lightning's logger: the run that a run's folder remembers goes on, and gets no figure twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from components.core.config_types import Config
from components.training.mlflow_lineage import Extras, begin_lineage, refused
from components.training.sent import Sent

EXPERIMENT = "lightning-components"


def begun(
    folder: Path | None,
    config: Config,
    say: Callable[[str], None],
    *,
    uri: str | None = None,
    experiment: str | None = None,
    name: str | None = None,
    tags: Mapping[str, object] | None = None,
    checkpoint: bool = False,
    lineage: bool = False,
) -> Tracked:
    """A logger whose MLflow run has begun (on the first rank).

    Args:
        folder: of the run, or None on ranks that write nothing.
        config: of the run.
        say: prints.
        uri: a server or a database.
        experiment: its name.
        name: of the MLflow run.
        tags: names with values.
        checkpoint: send the best checkpoint at the end.
        lineage: show what the run has read and left.

    Raises:
        UserError: MLflow cannot write there, or the run that goes on is not there.
    """
    sent = Sent(None) if folder is None else Sent.of(folder, "mlflow")
    runs = (folder or Path()).absolute().parent.parent
    uri = place_of(folder, uri)
    logger = Tracked(
        experiment_name=experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT,
        run_name=name or ("/".join(folder.parts[-2:]) if folder else None),
        tracking_uri=uri,
        tags={n: str(v) for n, v in (tags or {}).items()},
        artifact_location=(runs / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None,
        run_id=sent.run,
    )
    logger.sent, logger.folder, logger.checkpoint, logger.lineage = sent, folder, checkpoint, lineage
    if folder is None:
        return logger
    with refused(f"begins no run at {uri}"):
        run = logger.run_id
        assert run is not None
        if sent.run is None:
            logger.log_hyperparams(config)
            if sent.copied_from is not None:
                logger.experiment.set_tag(run, "copied_from", sent.copied_from)
        else:
            logger.experiment.update_run(run, status="RUNNING")
        if lineage:
            begin_lineage(logger.experiment, run, folder)
    sent.begin(run)
    say(f"mlflow: run {run} at {uri}")
    return logger


def place_of(folder: Path | None, uri: str | None) -> str:
    """The server or the database: what is asked for, else what MLflow's own variable says, else a file beside the runs."""
    runs = (folder or Path()).absolute().parent.parent
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs / 'mlflow.db'}"


class Tracked(MLFlowLogger):
    """Lightning's logger. A figure that was sent for a step by a start that was killed is not sent again: MLflow would keep both."""

    sent = Sent(None)
    folder: Path | None = None
    checkpoint = lineage = False

    def extras(self) -> Extras:
        folder = self.folder if self.checkpoint or self.lineage else None
        return Extras(self.experiment, self.sent if folder else Sent(None), folder or Path(), checkpoint=self.checkpoint)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        fresh = metrics if step is None else {n: metrics[n] for n in self.sent.fresh(metrics, step)}
        if not fresh:
            return
        super().log_metrics(fresh, step)
        if step is not None and self.sent.run is not None:
            self.sent.note(fresh, step, 0)
