"""What a run has read and left, as MLflow shows it: data sets are inputs, a checkpoint and an export are files that say by SHA-256 what they are.

The same links as W&B's artifacts (``runs/lineage.py``); the export is an MLflow run of its own below the run that it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import UserError
from components.runs.lineage import Link, checkpoint_of, data_of, export_of
from components.runs.run_files import Figures
from components.training.sent import Sent

if TYPE_CHECKING:
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]  # an extra that `dev` leaves out

DIGEST = 36  # characters that MLflow takes
PARENT = "mlflow.parentRunId"  # by which its page shows a run below another


@contextmanager
def refused(what: str) -> Iterator[None]:
    """MLflow's own errors as one line: ``MLflow <what>: ...``."""
    from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]  # an extra that `dev` leaves out

    try:
        yield
    except MlflowException as e:
        told = " ".join(str(e).split())
        raise UserError("logger", f"MLflow {what}: {told}", "look at logger.tracking_uri") from None


def show_read(client: MlflowClient, run: str, link: Link) -> None:
    """``link`` among the inputs of the MLflow run; its digest is the beginning of the data's hash, or of that of its facts."""
    from mlflow.entities import Dataset, DatasetInput  # pyright: ignore[reportMissingImports]  # an extra that `dev` leaves out

    facts = json.dumps(link.facts, sort_keys=True)
    digest = str(link.facts.get("hash") or hashlib.sha256(facts.encode()).hexdigest())
    client.log_inputs(run, [DatasetInput(Dataset(link.name, digest[:DIGEST], link.kind, facts), [])])


def show_left(client: MlflowClient, run: str, link: Link, place: Path, *, send: bool = False) -> None:
    """``link`` as ``lineage/NAME.json`` of the run, with the path where it lies; ``send``: the file, or the folder's files, too."""
    client.log_dict(run, {**link.facts, "path": str(place.absolute())}, f"lineage/{link.name}.json")
    if send:
        add = client.log_artifacts if place.is_dir() else client.log_artifact  # a folder of shards, or one file
        add(run, str(place), link.kind)


class Extras:
    """What is shown of a run when it has ended: its best checkpoint."""

    def __init__(self, client: MlflowClient, sent: Sent, folder: Path, *, checkpoint: bool) -> None:
        self.client, self.sent, self.folder, self.checkpoint = client, sent, folder, checkpoint

    def keep(self, step: int, prompts: list[str], texts: list[str]) -> None:
        """Samples are in samples.txt alone."""

    def finish(self, picture: Path | None, checkpoint: Path | None, summary: Figures, exit_code: int) -> None:  # noqa: ARG002  what all extras are told
        if self.sent.run is None or checkpoint is None or not checkpoint.exists():
            return
        with refused("takes no checkpoint"):
            link = checkpoint_of(self.folder, checkpoint, self.sent.run)
            show_left(self.client, self.sent.run, link, checkpoint, send=self.checkpoint)


def begin_lineage(client: MlflowClient, run: str, folder: Path) -> None:
    """The data that the run in ``folder`` reads: an input, and the tag ``data_hash`` to find runs of the same data by."""
    data = data_of(folder)
    show_read(client, run, data)
    client.set_tag(run, "data_hash", str(data.facts["hash"]))


def exported(uri: str, folder: Path, checkpoint: Path, to: Path, say: Callable[[str], None]) -> None:
    """Show what was exported from the run in ``folder`` as an MLflow run below its own; nothing where MLflow does not know the run.

    Args:
        uri: a server or a database.
        folder: of the run.
        checkpoint: what was exported.
        to: where it was written to.
        say: prints.

    Raises:
        UserError: MLflow has lost the run, or cannot write there.
    """
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]  # an extra that `dev` leaves out

    trained = Sent.of(folder, "mlflow").run
    if trained is None:
        return
    with refused(f"shows no export at {uri}"):
        client = MlflowClient(uri)
        parent = client.get_run(trained)
        name = f"export of {'/'.join(folder.parts[-2:])}"
        made = client.create_run(
            parent.info.experiment_id, tags={PARENT: trained, "job_type": "export"}, run_name=name
        ).info.run_id
        show_read(client, made, checkpoint_of(folder, checkpoint, trained))
        show_left(client, made, export_of(folder, checkpoint, to, trained), to)
        client.set_terminated(made)
    say(f"mlflow: export {made} at {uri}")
