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
# a mixer of its own in each step, which belongs to the step as what is dropped belongs to the samples
IN_TURN = ["model/attention=stochastic", "model.attention.mixers=[{name: gqa, n_heads: 2, dropout: 0.2}, lstm, mamba2]"]
IN_TURN += ["model.attention.weights=[2.0, 1.0, 1.0]"]
# {processes: (strategy, micro-batches of a step, activation checkpointing, one mixer or several)}
LAYOUTS = {
    1: (("auto", 1, "false", "one"), ("auto", 4, "false", "one"), ("auto", 1, "false", "several")),
    2: (
        *(("ddp", 2, "false", "one"), ("ddp", 2, "selective", "one"), ("fsdp2", 1, "false", "one"), ("fsdp2", 1, "2", "one")),
        *(("fsdp2", 1, "selective", "one"), ("ddp", 2, "selective", "several"), ("fsdp2", 1, "false", "several")),
    ),
    4: (("ddp", 2, "false", "one"), ("ddp", 1, "false", "several")),
}


def main(folder: Path, ranks: int) -> None:
    for strategy, accumulate, again, mixers in LAYOUTS[ranks]:
        layout = [f"trainer.strategy={strategy}", f"trainer.devices={ranks}", f"trainer.accumulate_grad_batches={accumulate}"]
        layout.append(f"task.activation_checkpointing={again}")
        words = [w for w in WORDS if "model.attention" not in w] + IN_TURN if mixers == "several" else WORDS
        done = components.train(None, [*words, *layout], quiet=True)
        if rank() == 0:
            held = torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            torch.save(held, folder / f"{mixers} {strategy} {ranks} {accumulate} {again}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["WORLD_SIZE"]))
