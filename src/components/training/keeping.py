"""Which checkpoints of a run stay: ``last.ckpt``, ``best.ckpt``, and those that were asked for by their step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from components.core import files
from components.core.publishing import also_as, publish, remove

ADAPTER = ".adapter.pt"
STEP = re.compile(r"step_(\d+)\.ckpt")


@dataclass(frozen=True)
class Keeping:
    """
    Args:
        last: so many of the last checkpoints stay by their step, as ``step_100.ckpt``.
        every: a checkpoint of each step that this divides is written, and stays likewise.
    """

    last: int = 0
    every: int | None = None

    def due(self, step: int) -> bool:
        """Whether a checkpoint of this step is to be written, validation or not."""
        return self.every is not None and step > 0 and step % self.every == 0

    def names(self, step: int) -> list[str]:
        """The name that a checkpoint of this step stays under, if it stays."""
        return [f"step_{step}.ckpt"] if self.last or self.due(step) else []

    def publish(self, fresh: Path, names: Sequence[str], adapter: dict[str, object] | None) -> None:
        """Put a finished checkpoint in the place of earlier ones, and remove those that need not stay. On the first rank.

        Args:
            fresh: the checkpoint, a file or a folder beside the others.
            names: of the others; the last one is put in place last.
            adapter: what is written beside each of them, if the model has one.

        Raises:
            OSError, UserError: the disk refuses; each name has its earlier or its new checkpoint.
        """
        folder = fresh.parent
        for name in names:
            if name == names[-1]:
                publish(fresh, folder / name)
            else:
                also_as(fresh, folder / name)
            if adapter is not None:
                with files.whole((folder / name).with_suffix(ADAPTER)) as stream:
                    torch.save(adapter, stream)
        self.forget(folder, max((int(m[1]) for name in names if (m := STEP.fullmatch(name))), default=-1))

    def forget(self, folder: Path, step: int) -> None:
        """Remove the checkpoints up to this step that need not stay. Later ones are of a run that has gone back; it writes them anew."""
        found = {int(m[1]): file for file in folder.iterdir() if (m := STEP.fullmatch(file.name))}
        past = sorted(n for n in found if n <= step)
        for n in past[: max(0, len(past) - self.last)]:
            if not self.due(n):
                remove(found[n])
                remove(found[n].with_suffix(ADAPTER))
