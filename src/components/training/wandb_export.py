"""What ``components export`` writes, as a W&B run of its own that has read a checkpoint of another one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from components.core.config_types import Config
from components.runs.lineage import checkpoint_of, export_of
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
