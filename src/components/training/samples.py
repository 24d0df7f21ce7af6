"""samples.txt: texts that the model writes after each validation, and at the end the share that the data's ``judge`` accepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from components.core import terminal
from components.core.config_types import Config
from components.core.errors import UserError
from components.core.files import open_append, reason
from components.core.traits import why_cannot_generate
from components.generation.generating import generate
from components.runs.task_module import TaskModule
from components.training.strategies import shards_weights


class Clock(Protocol):
    """What counts the seconds of training."""

    def pause(self) -> None: ...
    def go_on(self) -> None: ...


class Samples(Callback):
    """Write, print and log the texts that the model writes after each validation, as many as the task's ``samples`` says.

    They use a random generator of their own, so they do not change training.

    Args:
        file: samples.txt; None: only print.
        say: prints, or None.
        recorder: its clock stops meanwhile.
        keep: called with (step, prompts, texts), for loggers that show tables.
    """

    def __init__(
        self, file: str | Path | None = None, *, say: Callable[[str], None] | None = print, recorder: Clock | None = None
    ) -> None:
        self.file = None if file is None else Path(file)
        self.say, self.recorder = say, recorder
        self.keep: list[Callable[[int, list[str], list[str]], None]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        together = shards_weights(trainer.strategy)  # shards are gathered by all ranks or by none
        task = cast(TaskModule, pl_module)
        if trainer.sanity_checking or trainer.state.fn != "fit" or not task.samples:
            return
        if why_cannot_generate(task.model, source=task.gives_sources):
            return
        if not (trainer.is_global_zero or together):
            return
        if self.recorder is not None:
            self.recorder.pause()
        prompts, texts = task.write(task.held_out(task.samples))
        if trainer.is_global_zero:
            self._write(trainer.global_step, prompts, texts)
        if self.recorder is not None:
            self.recorder.go_on()

    def _write(self, step: int, prompts: list[str], texts: list[str]) -> None:
        if self.file is not None:
            written = "".join(f"=== step {step}, sample {i + 1} ===\n{text}\n\n" for i, text in enumerate(texts))
            try:
                with open_append(self.file) as f:
                    f.write(written.encode("utf8", errors="replace"))
            except (UserError, OSError) as e:  # a text is no reason to lose the training
                terminal.complain(f"samples: not written ({reason(e)})")
        if self.say is not None and texts:
            shown = texts[0].rstrip()
            self.say("\n".join(f"    | {line}" for line in shown.splitlines()[:12]))
        for keep in self.keep:
            keep(step, prompts, texts)


def judged(module: TaskModule, config: Config, judge: Callable[[str], bool]) -> tuple[int, int]:
    """(accepted, written) of ``judged_samples`` whole texts, sampled together."""
    count = module.judged_samples
    texts = generate(
        module.model, module.tokenizer, config, count=count, max_new_tokens=2 * module.sample_tokens, seed=config["seed"]
    )
    return sum(bool(judge(text)) for text in texts), count
