"""Before the first step, ranks compare the run that each has prepared with that of the first rank."""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from components import __version__
from components.core.collectives import same_everywhere
from components.corpus.store import key_of
from components.training.planning import Plan

PLACES = ("paths", "logger")  # nodes of the config that may differ from machine to machine


class Alike(Callback):
    """All ranks train the same config on the same data from the same checkpoint, or all of them refuse the run.

    Ranks that torchrun or SLURM has started each look up the data's cache and what ``resume=auto`` means. One that found something else would
    silently train on it.

    Args:
        planned: this rank's run.
    """

    def __init__(self, planned: Plan) -> None:
        self.planned = planned

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        same_everywhere(self.facts(), "let all ranks read the same files and give them the same words")

    def facts(self) -> dict[str, object]:
        job = self.planned.job
        return {
            "release": __version__,
            "run to go on with": job.resumed.folder.name if job.resumed else None,
            "checkpoint": f"{job.resumed.checkpoint.name} of step {self.planned.step}" if job.resumed else None,
            "data": self.planned.corpus.hash,
            "number of steps": self.planned.module.total_steps,
            "config": key_of({n: v for n, v in job.config.items() if n not in PLACES}),
        }
