"""Weights & Biases: what a config can say of it. What it does is in ``training/wandb.py``, the only file that imports wandb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from components.core.registry import register
from components.core.signature import PositiveFloat


@register("logger", "wandb")
class Wandb:
    """Weights & Biases beside metrics.csv: offline without a key or a network.

    What is null is what W&B's own environment says: WANDB_PROJECT, WANDB_ENTITY, WANDB_RUN_GROUP, WANDB_TAGS, WANDB_NOTES, WANDB_JOB_TYPE, WANDB_NAME.

    Args:
        folder: of the run, or None on ranks that write nothing.
        config: of the run, which W&B shows.
        say: prints.
        project: null: that of WANDB_PROJECT, without it lightning-components.
        entity: the user or team that the run belongs to.
        run_name: what W&B calls the run; null: that of WANDB_NAME, without it the last two names of its folder.
        group: runs of one group are shown together.
        tags: words to find the run by.
        notes: what to say about the run.
        mode: null: online if there is a key. WANDB_MODE goes before it.
        init_timeout: seconds to wait for the server before the run goes on offline; null: those of WANDB_INIT_TIMEOUT, without it 15.
        checkpoint: send the best checkpoint as an artifact.
        lineage: show by artifacts what the run has read and left: data, the best checkpoint, exports. They hold sums, and files by ``checkpoint`` alone.
    """

    provides = ("any_figure",)

    def __init__(
        self,
        folder: Path | None,
        config: dict[str, Any],
        say: Callable[[str], None],
        *,
        project: str | None = None,
        entity: str | None = None,
        run_name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        init_timeout: PositiveFloat | None = None,
        checkpoint: bool | None = False,
        lineage: bool = False,
    ) -> None:
        self.folder, self.config, self.say = folder, config, say
        said = {"project": project, "entity": entity, "name": run_name, "group": group, "tags": tags, "notes": notes}
        self.said = {n: v for n, v in said.items() if v is not None}
        self.mode, self.init_timeout, self.checkpoint, self.lineage = mode, init_timeout, bool(checkpoint), lineage

    def begin(self) -> Any:
        from components.training.wandb import begun

        return begun(
            self.said,
            self.folder,
            self.config,
            self.say,
            mode=self.mode,
            timeout=self.init_timeout,
            checkpoint=self.checkpoint,
            lineage=self.lineage,
        )

    def exported(self, checkpoint: Path, to: Path) -> None:
        """Show what was written to ``to`` from a checkpoint of the run."""
        if not self.lineage or self.folder is None:
            return
        from components.training.wandb_export import exported

        exported(self.said, self.folder, (checkpoint, to), self.say, mode=self.mode, timeout=self.init_timeout)

    def measured(self, figures: Mapping[str, float]) -> None:
        """Put figures that were measured after the run into the summary of its W&B run; nothing where W&B does not know the run."""
        if self.folder is None:
            return
        from components.training.wandb_export import measured

        measured(self.said, self.folder, figures, self.say, mode=self.mode, timeout=self.init_timeout)
