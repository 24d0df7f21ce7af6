"""What commands after a run tell W&B: exports and reports as W&B runs of their own, figures in the run's summary."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from components.core.config_types import Config
from components.runs.lineage import Link, checkpoint_of, export_of, sums
from components.training.sent import Sent
from components.training.wandb import PROJECT, Wandb, place_of, refused, settled_mode, show


def exported(
    said: Config, folder: Path, made: tuple[Path, Path], say: Callable[[str], None], *, mode: str | None, timeout: float | None
) -> None:
    """Show what was exported from the run in ``folder``; nothing where W&B does not know the run.

    Args:
        said: what the run's config says: project, entity, group, tags, notes.
        folder: of the run.
        made: the checkpoint, and the folder that was written from it.
        say: prints.
        mode: online, offline or disabled.
        timeout: seconds to wait for the server.

    Raises:
        UserError: W&B refuses the settings.
    """
    trained, (checkpoint, to) = Sent.of(folder, "wandb").run, made
    if trained is None:
        return
    own = {"name": f"export of {'/'.join(folder.parts[-2:])}", "id": secrets.token_hex(6), "job_type": "export"}
    with refused():
        settled = settled_mode(mode, place_of(folder), say)
        chosen = {"project": os.environ.get("WANDB_PROJECT") or PROJECT, **own, **said}
        logger = Wandb(save_dir=str(place_of(folder)), log_model=False, offline=settled == "offline", **chosen)
        logger.begin(settled, timeout, say)
        show(logger.experiment, checkpoint_of(folder, checkpoint, trained), used=True)
        show(logger.experiment, export_of(folder, checkpoint, to, trained))
        logger.close(0)


def measured(
    said: Config,
    folder: Path,
    figures: Mapping[str, float],
    say: Callable[[str], None],
    *,
    mode: str | None,
    timeout: float | None,
) -> None:
    """Put figures into the summary of the W&B run of ``folder``, which goes on for it; nothing where W&B does not know the run.

    The arguments and errors are those of `exported`; ``figures``: by the names under which W&B shows them.
    """
    sent = Sent.of(folder, "wandb")
    if sent.run is None:
        return
    with refused():
        settled = settled_mode(mode, place_of(folder), say)
        chosen = {"project": os.environ.get("WANDB_PROJECT") or PROJECT, "id": sent.run, **said}
        logger = Wandb(save_dir=str(place_of(folder)), log_model=False, offline=settled == "offline", **chosen)
        logger.begin(settled, timeout, say)
        logger.experiment.summary.update(dict(figures))
        logger.close(0)


def reported(
    node: Config, folder: Path, table: tuple[Sequence[str], Sequence[Sequence[object]]], say: Callable[[str], None]
) -> None:
    """Show the report of a study among its runs: its table under ``summary``, and its files as an artifact.

    Args:
        node: the logger's, of the study's recipe.
        folder: of the study, whose name is that of the group.
        table: (names of the columns, rows).
        say: prints.

    Raises:
        UserError: W&B refuses the settings.
    """
    said = {n: node[n] for n in ("project", "entity", "notes") if node.get(n) is not None}
    own = {"name": f"{folder.name}, report", "id": secrets.token_hex(6), "job_type": "report", "tags": ["report"]}
    group = node.get("group") or os.environ.get("WANDB_RUN_GROUP") or folder.name
    with refused(), tempfile.TemporaryDirectory() as copied:
        settled = settled_mode(node.get("mode"), place_of(folder), say)
        if settled == "disabled":
            return
        chosen = {"project": os.environ.get("WANDB_PROJECT") or PROJECT, **own, **said, "group": group}
        logger = Wandb(save_dir=str(place_of(folder)), log_model=False, offline=settled == "offline", **chosen)
        logger.begin(settled, node.get("init_timeout"), say)
        logger.log_table("summary", columns=[*table[0]], data=[[*row] for row in table[1]])
        for file in (f for f in folder.iterdir() if f.is_file()):  # not W&B's own folder, which is there too
            shutil.copy(file, copied)
        link = Link(f"study-{folder.name}", "report", {"study": folder.name, "files": sums(Path(copied))})
        show(logger.experiment, link, Path(copied))
        logger.close(0)
