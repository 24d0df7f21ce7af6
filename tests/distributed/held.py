"""What ranks of real runs hold: bytes of parameters, gradients and optimizer state, and the most that torch's own tracker counts within a step.

``python held.py FOLDER LAYOUT ...``, under torchrun, trains small models under each layout in one launch and keeps what each rank held in
FOLDER/held-RANKS.json. ``planned.py`` beside it says what ``components plan`` foretells of the same runs.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from pathlib import Path

import torch
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.tensor import DTensor

import components
from components.core.collectives import everywhere
from components.functional.quantised_tensor import bytes_of
from components.runs import curves
from components.training.task._training import Training

STEPS, TRACKED = 3, 2  # the third step: by then the optimizer has its state, and gradients of the step before are there
COMMON = [
    *("recipe=llama_tiny", "model.d_model=96", "model.n_layers=3", "model.context_length=64", "model.attention.n_heads=4"),
    *("tokenizer=bpe", "tokenizer.vocab_size=300", "data=text", "data.path=text.txt", "optimizer=adamw"),
    *(f"task.validation_every={STEPS}", "task.samples=0", "task.judged_samples=0", "logger=csv"),
    *(f"trainer.max_steps={STEPS}", "trainer.log_every_n_steps=1", "trainer.accelerator=cpu"),
    *("trainer.enable_checkpointing=false", "trainer.limit_val_batches=0"),
]
FAMILIES = {
    "dense": [
        "model/position=rope",
        "model/norm=rms",
        "model/ffn=glu",
        "model.ffn.d_ff=250",
        "model/attention=gqa",
        "model.attention.n_kv_heads=2",
    ],
    "MoE": ["model/position=rope", "model/norm=rms", "model/ffn=moe", "model.ffn.n_experts=4", "model/attention=mha"],
    "recurrent": ["model/position=rope", "model/norm=rms", "model/ffn=glu", "model/attention=gated_delta_net"],
}
LAYOUTS = {
    "ddp": "ddp",
    "fsdp2": "fsdp2",
    "hsdp": "{name: hsdp, shard_size: 2}",
    "tp": "tp",
    "fsdp2_tp": "{name: fsdp2_tp, tensor_size: 2}",
    "cp": "{name: cp, context_size: 2}",
    "tp with experts dealt out": "{name: tp, expert_parallel: true}",
    "tp with positions dealt out": "{name: tp, sequence_parallel: true}",
    "tp with both dealt out": "{name: tp, expert_parallel: true, sequence_parallel: true}",
}
ROWS = (2, 8)  # of one device
MORE = {
    "checkpointed": "task.activation_checkpointing=true",
    "bf16-mixed": "trainer.precision=bf16-mixed",
    "SOAP": "optimizer=soap",
    "over int8": "adapter={name: lora, base: int8}",
    "over nf4": "adapter={name: lora, base: nf4}",
    "over nf4 in bf16-true": "adapter={name: lora, base: nf4} trainer.precision=bf16-true",
}  # of the dense model
WHOLE = ("over int8", "over nf4", "over nf4 in bf16-true")  # matrices that no rank has a piece of
ONLY = {
    "cp": ("dense", "recurrent"),
    "tp with experts dealt out": ("MoE",),
    "tp with positions dealt out": ("dense",),
    "tp with both dealt out": ("MoE",),
}
OWNERS = ("hsdp", "tp", "fsdp2_tp", "cp")  # whose meshes differ in who owns SOAP's matrices


def cases(layout: str, ranks: int) -> list[tuple[str, int, str]]:
    """(family, rows, what is besides) of each run under a layout."""
    found = [(family, rows, "") for family in ONLY.get(layout, FAMILIES) for rows in ROWS]
    if "dense" not in ONLY.get(layout, FAMILIES):
        return found
    besides = ("SOAP",) if ranks > 2 else [more for more in MORE if layout == "ddp" or more not in WHOLE]
    return found + [("dense", ROWS[-1], more) for more in (besides if ranks == 2 or layout in OWNERS else ())]


def overrides(family: str, layout: str, rows: int, more: str, ranks: int) -> list[str]:
    readers = 1 if layout.startswith("tp") else {"fsdp2_tp": ranks // 2, "cp": ranks // 2}.get(layout, ranks)
    return [
        *(*COMMON, *FAMILIES[family], f"trainer.strategy={LAYOUTS[layout]}", f"trainer.devices={ranks}"),
        *(f"task.batch_size={rows * readers}", *(re.split(r" (?=trainer)", MORE[more]) if more else [])),
    ]


def local(tensors: object) -> int:
    """Bytes of the pieces of this rank."""
    own = (t.to_local() if isinstance(t, DTensor) else t for t in tensors if isinstance(t, torch.Tensor))
    return sum(map(bytes_of, own))


class Tracker(MemTracker):
    """Torch's own, which sees each tensor that is made, and hooks no gradient: weights that give way to pieces are no leaves while a layer runs."""

    def _track_module_params_and_buffers(self, module: torch.nn.Module, install_grad_hooks: bool = True) -> tuple[int, int]:  # noqa: ARG002  # torch's own arguments
        return super()._track_module_params_and_buffers(module, install_grad_hooks=False)


class Watched:
    """Hooks of a task that keep what is there in and after the step ``TRACKED``."""

    found: dict[str, int] = {}
    tracker: MemTracker | None = None

    @staticmethod
    def before(task: Training, batch: object, batch_idx: int) -> None:
        start(task, batch, batch_idx)
        if task.trainer.global_step == TRACKED:
            Watched.tracker = Tracker()
            Watched.tracker.track_external(task.model, task.trainer.optimizers[0])
            Watched.tracker.__enter__()

    @staticmethod
    def after(task: Training, *args: object) -> None:
        if Watched.tracker is not None:
            Watched.tracker.__exit__(None, None, None)
            Watched.found["peak"] = int(Watched.tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])
            Watched.tracker = None
            model, optimizer = task.model, task.trainer.optimizers[0]
            Watched.found["parameters"] = local(model.parameters())
            Watched.found["gradients"] = local(p.grad for p in model.parameters())
            Watched.found["optimizer"] = local(v for s in optimizer.state.values() for v in s.values())
        end(task, *args)


start, end = Training.on_train_batch_start, Training.on_train_batch_end

if __name__ == "__main__":
    # the tracker asks each weight for its gradient, and those that give way to pieces are no leaves
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
    Training.on_train_batch_start, Training.on_train_batch_end = Watched.before, Watched.after
    curves.draw = lambda *_: None
    folder, *layouts = sys.argv[1:]
    ranks, kept = int(os.environ["WORLD_SIZE"]), {}
    for layout in layouts:
        for family, rows, more in cases(layout, ranks):
            Watched.found = {}
            components.train(None, overrides(family, layout, rows, more, ranks), quiet=True)
            kept[f"{layout}, {family}, {rows}, {more}"] = everywhere(Watched.found)
    if os.environ["RANK"] == "0":
        Path(folder, f"held-{ranks}.json").write_text(json.dumps(kept, indent=1))
