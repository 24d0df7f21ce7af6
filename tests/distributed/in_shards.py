"""``in_shards.py FOLDER`` under torchrun with two processes: runs that save in shards, on a disk that gets full, and meanwhile. FOLDER gets what they say."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

import components
from components.core.collectives import everywhere, rank
from components.core.errors import UserError
from components.runs import curves, run_folder
from components.training.strategy import _shards
from components.training.task._training import Training

COMMON = [
    *("recipe=llama_tiny", "model.d_model=32", "model.n_layers=1", "model.context_length=16", "model.attention.n_heads=2"),
    *("tokenizer=byte", "data=text", "data.path=text.txt", "task.batch_size=8", "task.validation_every=4", "task.samples=0"),
    *("task.judged_samples=0", "trainer.max_steps=8", "trainer.accelerator=cpu", "trainer.devices=2"),
]
SHARDED = "{name: fsdp2, checkpoint: sharded}"
ASIDE = "{name: fsdp2, checkpoint: sharded, asynchronous: true}"


def train(name: str, *words: str, strategy: str = SHARDED, step: int = 0, then: Any = None) -> str:
    """A run in FOLDER/NAME; what it ended with. ``then`` is called when so many steps have been taken."""
    before = Training.on_train_batch_end

    def after(self: Training, *args: Any) -> None:
        if then is not None and self.trainer.global_step == step:
            then(self)
        before(self, *args)

    Training.on_train_batch_end = after
    try:
        components.train(None, [*COMMON, f"trainer.strategy={strategy}", f"paths.runs={name}", *words], quiet=True)
        return "done"
    except UserError as e:
        return e.line()
    finally:
        Training.on_train_batch_end = before
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        everywhere(None)


def fill(_: Training) -> None:
    """From now on the second rank can write no file of more than 2,000 bytes."""
    if rank() == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))


def close(name: str) -> Any:
    """The folder of checkpoints becomes a file, so that nobody can write into it; what was in it lies beside."""

    def then(_: Training) -> None:
        if rank() == 0:
            (run,) = run_folder.all_runs(Path(name))
            os.rename(run / "checkpoints", run / "aside")
            (run / "checkpoints").write_text("")
        everywhere(None)

    return then


def slowly(said: dict[str, Any]) -> None:
    """A run that is saved meanwhile, on a disk that takes as long for each file as four steps do."""
    write, stepped, four = _shards.write, [], threading.Event()

    def slow(*args: Any) -> list[int]:
        stepped.append(("begins", threading.current_thread() is threading.main_thread()))
        four.wait(60)  # if training waits for the file, it is over only now
        done = write(*args)
        stepped.append(("ends", False))
        return done

    _shards.write = slow
    before = Training.on_train_batch_end

    def noted(self: Training, *args: Any) -> None:
        stepped.append((self.trainer.global_step, True))
        if self.trainer.global_step == 8:  # which is saved, too, once the file is written
            four.set()
        before(self, *args)

    Training.on_train_batch_end = noted
    try:
        said["aside"] = train("aside", strategy=ASIDE)
    finally:
        _shards.write, Training.on_train_batch_end = write, before
    said["order"] = [what for what, _ in stepped]
    said["in the main thread"] = any(main for what, main in stepped if what == "begins")


def main(folder: Path) -> None:
    curves.draw = lambda *_: None
    said: dict[str, Any] = {}
    said["plain"] = train("plain", "trainer.keep_every=3", "adapter=lora")
    said["whole"] = train("whole", "trainer.keep_every=3", "adapter=lora", strategy="fsdp2")
    said["full"] = train("full", step=6, then=fill)
    said["full aside"] = train("full aside", strategy=ASIDE, step=6, then=fill)
    said["no folder"] = train("no folder", step=6, then=close("no folder"))
    slowly(said)
    said["both"] = train("both", strategy="{name: fsdp2, asynchronous: true}")
    said["held"] = {
        name: sorted(f.name for f in Path(name).glob("*/*/checkpoints/*"))
        for name in ("plain", "whole", "full", "full aside", "aside")
    }
    (folder / f"said {rank()}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
