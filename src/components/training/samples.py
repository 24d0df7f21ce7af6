"""samples.txt: what the model writes after each validation, and at the end the share of texts that the data's ``judge`` accepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from components.core import terminal
from components.core.errors import UserError
from components.core.files import open_append, reason
from components.core.traits import silent_reason
from components.generation.generating import generate
from components.training.strategies import shards_weights


class Samples(Callback):
    """Write, print and log texts; draws from a generator of its own, so that training is not changed by them.

    Args:
        file: samples.txt, or None on ranks that write nothing.
        config: for decoding and cache.
        say: prints, or None.
        recorder: whose clock stands still meanwhile.
        keep: also call ``keep(step, prompts, texts)`` (loggers that show tables).
    """

    def __init__(self, file: Path | None, config: dict[str, Any], say: Callable[[str], None] | None, recorder: Any) -> None:
        self.file, self.config, self.say, self.recorder = file, config, say, recorder
        self.keep: list[Callable[[int, list[str], list[str]], None]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        together = shards_weights(trainer.strategy)  # shards are gathered by all ranks or by none
        if trainer.sanity_checking or trainer.state.fn != "fit" or not pl_module.samples:
            return
        if silent_reason(pl_module.model, source=pl_module.gives_sources):
            return
        if not (trainer.is_global_zero or together):
            return
        self.recorder.pause()
        prompts, texts = pl_module.write(pl_module.held_out(pl_module.samples))
        self._write(trainer.global_step, prompts, texts)
        self.recorder.go_on()

    def _write(self, step: int, prompts: list[str], texts: list[str]) -> None:
        if self.file is not None:
            written = "".join(f"=== step {step}, sample {i + 1} ===\n{text}\n\n" for i, text in enumerate(texts))
            try:
                with open_append(self.file) as f:
                    f.write(written.encode("utf8", errors="replace"))
            except (UserError, OSError) as e:  # what is being trained is not lost for a text
                terminal.complain(f"samples: not written ({reason(e)})")
        if self.say is not None and texts:
            shown = texts[0].rstrip()
            self.say("\n".join(f"    | {line}" for line in shown.splitlines()[:12]))
        for keep in self.keep:
            keep(step, prompts, texts)


def judged(module: Any, config: dict[str, Any], judge: Callable[[str], bool]) -> tuple[int, int]:
    """(accepted, written) of ``judged_samples`` whole texts, drawn at once."""
    count = module.judged_samples
    texts = generate(
        module.model, module.tokenizer, config, count=count, max_new_tokens=2 * module.sample_tokens, seed=config["seed"]
    )
    return sum(bool(judge(text)) for text in texts), count
