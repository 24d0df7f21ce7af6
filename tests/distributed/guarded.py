"""``python guarded.py FOLDER``, alone or under torchrun: runs with one row whose loss is no number, under callbacks.guard.

The row is that of one rank alone. Weights and figures of each run go to FOLDER/<ranks>, a run that ends with an error leaves its line.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import torch

import components
from components.core.collectives import everywhere, rank
from components.core.errors import UserError
from components.training.task._training import Training

BAD = (5 * 8 + 6, 12 * 8 + 1)  # samples: of steps 6 and 13, the first on the last rank and the second on the first
COMMON = [
    *("recipe=llama_tiny", "model.d_model=16", "model.n_layers=2", "model.context_length=16", "model.attention.n_heads=2"),
    *("tokenizer=byte", "data=text", "data.path=text.txt", "task.batch_size=8", "task.validation_every=5", "task.samples=0"),
    *("task.judged_samples=0", "trainer.max_steps=16", "trainer.accelerator=cpu", "trainer.precision=64-true"),
    "trainer.log_every_n_steps=1",
]
RUNS = {
    "skip": "{on_fault: skip, spike: 30}",
    "rewind": "{on_fault: rewind}",
    "stop": "true",
}
plain = Training.learned_from


def poisoned(self: Training, item):
    """The loss of a row of ``BAD`` is no number: a norm's output is not."""
    bad = torch.isin(item.samples, torch.tensor(BAD))
    factor = torch.where(bad, math.nan, 1.0)[:, None, None]
    norm = self.model.stack.layers[1].block.ffn_norm
    norm.forward = lambda x: type(norm).forward(norm, x) * factor
    try:
        return plain(self, item)
    finally:
        del norm.forward


def main(folder: Path) -> None:
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    out = folder / str(ranks)
    out.mkdir(exist_ok=True)
    Training.learned_from = poisoned
    for strategy in ("auto",) if ranks == 1 else ("ddp", "fsdp2"):
        for name, guard in RUNS.items():
            words = [*COMMON, f"callbacks.guard={guard}", f"trainer.strategy={strategy}", f"trainer.devices={ranks}"]
            file = out / f"{strategy} {name}"
            try:
                done = components.train(None, words, quiet=True)
            except UserError as e:
                told = everywhere(str(e))
                assert len(set(told)) == 1, told
                file.with_suffix(".txt").write_text(str(e))
                continue
            if rank() == 0:
                held = torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)
                told = (done.folder / "faults.txt").read_text()
                torch.save(
                    {"weights": held["state_dict"], "figures": dict(done.figures), "told": told}, file.with_suffix(".pt")
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
