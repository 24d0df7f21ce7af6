"""Runs over frozen matrices in few bits, each by as many ranks as this is started with under ddp: ``python few_bits.py FOLDER NAME ...``, alone or as ranks.

FOLDER/NAME, RANKS.pt holds the weights and the losses of each.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
import cases

import components
from components.core.collectives import everywhere
from components.runs import curves
from components.training.task._training import Training

SETTINGS = [
    *("recipe=llama_tiny", "model.d_model=32", "model.n_layers=2", "model.context_length=32", "model.attention.n_heads=4"),
    *("data=text", "data.path=text.txt", "tokenizer=byte", "task.batch_size=8", "task.samples=0", "task.judged_samples=0"),
    *(
        "optimizer.lr=0.01",
        "schedule=constant",
        "trainer.max_steps=5",
        "task.validation_every=5",
        "trainer.log_every_n_steps=5",
    ),
    "trainer.accelerator=cpu",
]
LORA = "adapter={name: lora, targets: ['*.attention.*', '*.ffn.*'], base: %s}"
RUNS = {
    "int8": [LORA % "int8", "trainer.precision=64-true"],
    "nf4": [LORA % "nf4", "trainer.precision=64-true"],
    "nf4, 2 micro-batches": [LORA % "nf4", "trainer.precision=64-true", "trainer.accumulate_grad_batches=2"],
    "nf4, checkpointed": [LORA % "nf4", "trainer.precision=64-true", "task.activation_checkpointing=true"],
    "DoRA over nf4": ["adapter={name: dora, base: nf4}", "trainer.precision=64-true"],
    "IA3 over int8": ["adapter={name: ia3, base: int8}", "trainer.precision=64-true"],
    "int8, bf16-mixed": [LORA % "int8", "trainer.precision=bf16-mixed"],
    "nf4, bf16-mixed": [LORA % "nf4", "trainer.precision=bf16-mixed"],
    "nf4, compiled": [LORA % "nf4", "trainer.precision=32-true", "task.compile=layers"],
    "nf4, bf16-true": [LORA % "nf4", "trainer.precision=bf16-true"],
}


def same_bits(module: Training) -> None:
    """AssertionError unless all ranks hold the same model, bit for bit."""
    tensors = module.model.state_dict().values()
    held = hashlib.blake2b(b"".join(t.double().numpy().tobytes() for t in tensors))  # which holds numbers of all types exactly
    assert len(set(everywhere(held.hexdigest()))) == 1, "replicas differ"


if __name__ == "__main__":
    Training.on_train_end = same_bits
    curves.draw = lambda *_: None
    (folder, *names), ranks = sys.argv[1:], os.environ.get("WORLD_SIZE", "1")
    for name in names:
        of_ranks = [f"trainer.devices={ranks}", *(["trainer.strategy=ddp"] if ranks != "1" else [])]
        cases.keep(components.train(None, [*SETTINGS, *RUNS[name], *of_ranks], quiet=True), Path(folder, f"{name}, {ranks}.pt"))
