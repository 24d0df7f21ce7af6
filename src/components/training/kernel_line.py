"""One line after a run's first step: which kernels it takes, as the places that choose have said."""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer

from components.core.bar import Bar
from components.functional import chosen
from components.functional.chosen import Heard, in_a_line
from components.runs.task_module import TaskModule


class SaysKernels(Callback):
    """Listens from the optimizer's making to ``say_kernels``, which whoever counts the steps calls after the first one."""

    bar: Bar | None
    heard: Heard | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # a layer that was compiled with a listener would be compiled again without
        if stage == "fit" and self.bar is not None and not cast(TaskModule, pl_module).compile_layers:
            self.heard = chosen.begin()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.heard = None
        chosen.end()

    def say_kernels(self) -> None:
        if self.bar is not None and self.heard:
            self.bar.say(f"kernels: {in_a_line(self.heard)}")
        self.heard = None
        chosen.end()
