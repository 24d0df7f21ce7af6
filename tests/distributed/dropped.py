"""``dropped.py FOLDER`` under torchrun, or ``main``: runs with dropout everywhere in 64-true, whose weights go to FOLDER."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

import components
from components.core.collectives import rank

WORDS = [
    *("recipe=llama_tiny", "model.d_model=16", "model.n_layers=2", "model.context_length=16", "model.attention.n_heads=2"),
    *("model.attention.dropout=0.2", "model.embedding.dropout=0.1", "model/residual=drop_path", "model.residual.dropout=0.1"),
    *("tokenizer=byte", "data=text", "data.path=text.txt", "task.batch_size=8", "task.validation_every=50", "task.samples=0"),
    *("task.judged_samples=0", "trainer.max_steps=10", "trainer.accelerator=cpu", "trainer.precision=64-true"),
]
# {processes: (strategy, micro-batches of a step, activation checkpointing)}
LAYOUTS = {
    1: (("auto", 1, "false"), ("auto", 4, "false")),
    2: (("ddp", 2, "false"), ("ddp", 2, "selective"), ("fsdp2", 1, "false"), ("fsdp2", 1, "2"), ("fsdp2", 1, "selective")),
    4: (("ddp", 2, "false"),),
}


def main(folder: Path, ranks: int) -> None:
    for strategy, accumulate, again in LAYOUTS[ranks]:
        layout = [f"trainer.strategy={strategy}", f"trainer.devices={ranks}", f"trainer.accumulate_grad_batches={accumulate}"]
        layout.append(f"task.activation_checkpointing={again}")
        done = components.train(None, [*WORDS, *layout], quiet=True)
        if rank() == 0:
            held = torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            torch.save(held, folder / f"{strategy} {ranks} {accumulate} {again}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["WORLD_SIZE"]))
