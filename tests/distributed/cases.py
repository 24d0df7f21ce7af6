"""The runs that every layout of ranks must repeat: families of models, each small and without dropout; in 64-true, one family in other precisions too.

``python cases.py FOLDER all LAYOUT ...``, alone or under torchrun, trains them under each layout in one launch and keeps each one's losses and weights
in FOLDER/LAYOUT; ``quarter`` in the place of ``all`` trains a quarter of them, for fewer steps: each family meets one or two layouts that shard
data, and one that cuts matrices. After the last step, weights that several ranks hold must be the same bits on all of them.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

import components
from components.core.collectives import everywhere
from components.runs import curves
from components.training.experiment import Result
from components.training.task._training import Training

STEPS = {"all": 20, "quarter": 5}
ACCUMULATE = (1, 4)
COMMON = [
    *("recipe=llama_tiny", "model.d_model=32", "model.n_layers=2", "model.context_length=32", "model.attention.n_heads=4"),
    *("tokenizer=bpe", "tokenizer.vocab_size=300", "data=text", "data.path=text.txt", "optimizer=adamw", "optimizer.lr=0.003"),
    *("task.batch_size=16", "task.samples=0", "task.judged_samples=0"),
    *("trainer.log_every_n_steps=5", "trainer.accelerator=cpu", "trainer.precision=64-true"),
]
ROPE = ["model/position=rope", "model/norm=rms", "model/ffn=glu", "model.ffn.d_ff=64"]
GQA = [*ROPE, "model/attention=gqa"]
FAMILIES = {
    "Qwen3-like": [*GQA, "model.attention.n_kv_heads=2", "model.attention.qk_norm=rms"],
    "OLMo-2-like": [*GQA, "model.attention.qk_norm=rms", "model.attention.qk_norm_over=full", "model/block=output_norm"],
    "gpt-oss-like": [
        *(*GQA, "model.attention.sinks=true", "model.attention.bias=[q,k,v,out]"),
        "model.layers.every2.attention.mask=sliding_window",
    ],
    "tied GPT": ["model/position=learned", "model/norm=layer", "model/ffn=mlp", "model/head=tied"],
    "MLA and MoE": [
        *("model/position=rope", "model/norm=rms", "model/attention=mla", "model.attention.kv_rank=16", "model/ffn=moe"),
        *("model.ffn.n_experts=4", "model.ffn.d_ff=32", "model.ffn.router=sigmoid_top_k", "model.ffn.shared=glu"),
    ],
    "gated delta hybrid": [*ROPE, "model/attention=gated_delta_net", "model.layers.last.attention=gqa"],
    "T5-like": [
        "model=encoder_decoder",
        "loss=span_corruption",
        "task=language_modeling",
        "model/position=t5_bias",
        "model/norm=rms",
    ],
}
OPTIMIZERS = {  # whose step needs whole matrices: wide ones, tall ones and stacks
    "Muon": [*FAMILIES["MLA and MoE"], "optimizer=muon"],
    "SOAP": [*FAMILIES["MLA and MoE"], "optimizer=soap", "optimizer.every=4"],
}
PRECISIONS = {
    f"Qwen3-like, {name}": [*FAMILIES["Qwen3-like"], f"trainer.precision={name}"] for name in ("32-true", "bf16-mixed")
}
RUNS = {
    **{(name, n): words for name, words in FAMILIES.items() for n in ACCUMULATE},
    **{(name, 1): words for name, words in (OPTIMIZERS | PRECISIONS).items()},
}
LAYOUTS = {
    "one": "auto",
    "ddp": "ddp",
    "fsdp2": "fsdp2",
    "hsdp": "{name: hsdp, shard_size: 2}",
    "tp": "tp",
    "fsdp2_tp": "fsdp2_tp",
    "cp": "{name: cp, context_size: 2}",
}
STRETCHED = ("gpt-oss-like", "tied GPT", "gated delta hybrid")  # families whose rows the layout cp cuts into stretches
DEALT = ("tp", "fsdp2_tp")  # layouts that can deal experts out, and positions
PARTED = ("OLMo-2-like", "MLA and MoE", "T5-like")


MOVES = {"one": ["one"], "tp": ["ddp", "tp", "fsdp2", "tp again"]}  # under which layouts one after the other


_steps = [STEPS["all"]]


def runs_of(layout: str, how: str) -> list[tuple[str, int]]:
    """(family, micro-batches of a step) of each run under a layout. In a quarter, every second layout has every second family."""
    runs = [(f, ACCUMULATE[-1]) for f in STRETCHED] + [(f, 1) for f in PRECISIONS] if layout == "cp" else [*RUNS]
    if how == "all" or layout == "one":
        return runs
    place, order = [*LAYOUTS].index(layout), [*FAMILIES, *OPTIMIZERS]
    met = {f: ACCUMULATE[(place + i) // 2 % 2] if f in FAMILIES else 1 for i, f in enumerate(order) if (place + i) % 2}
    return [(f, n) for f, n in runs if layout == "cp" or f in PRECISIONS or n == met.get(f)]


def laid_out(layout: str, accumulate: int = 1) -> list[str]:
    """The overrides that say where a run is trained, and until when."""
    ranks = os.environ.get("WORLD_SIZE", "1")
    return [
        *(f"trainer.strategy={LAYOUTS[layout]}", f"trainer.devices={ranks}", f"trainer.accumulate_grad_batches={accumulate}"),
        *(f"trainer.max_steps={_steps[0]}", f"task.validation_every={_steps[0]}"),
    ]


def same_bits(module: Training) -> None:
    """AssertionError unless ranks that hold the same weight, or the same shard of it, hold the same bits."""
    held: dict[tuple[str, tuple[int, ...]], set[str]] = {}
    for theirs in everywhere([(name, *bits_of(p)) for name, p in module.named_parameters()]):
        for name, shard, bits in theirs:
            held.setdefault((name, shard), set()).add(bits)
    assert all(len(bits) == 1 for bits in held.values()), "replicas differ"


def bits_of(p: torch.Tensor) -> tuple[tuple[int, ...], str]:
    """Which shard of the weight this rank holds, and a hash of it."""
    shard: tuple[int, ...] = ()
    if isinstance(p, DTensor):
        at = p.device_mesh.get_coordinate() or ()
        shard = tuple(n for n, place in zip(at, p.placements) if not place.is_replicate())
        p = p.to_local()
    return shard, hashlib.blake2b(p.detach().numpy().tobytes()).hexdigest()


def train(family: str, layout: str, accumulate: int, out: Path) -> None:
    run = components.train(None, [*COMMON, *RUNS[family, accumulate], *laid_out(layout, accumulate)], quiet=True)
    keep(run, out / f"{family}, {accumulate}.pt")


def drop(layout: str, folder: Path) -> None:
    """A run with dropout where each rank of the layout has all numbers: before the first layer, and on what branches write."""
    dropout = ["model.embedding.dropout=0.2", "model.residual.dropout=0.2"]
    run = components.train(None, [*COMMON, *FAMILIES["tied GPT"], *dropout, *laid_out(layout)], quiet=True)
    keep(run, folder / f"dropped, {layout}.pt")


def deal(layout: str, folder: Path) -> None:
    """A mixture whose experts are dealt out where ranks hold a layer together."""
    dealt = [f"trainer.strategy={{name: {LAYOUTS[layout]}, expert_parallel: true}}"] if layout in DEALT else []
    run = components.train(None, [*COMMON, *FAMILIES["MLA and MoE"], *laid_out(layout), *dealt], quiet=True)
    keep(run, folder / f"dealt, {layout}.pt")


def send(layout: str, folder: Path) -> None:
    """A mixture whose tokens travel to where their experts are: of ranks that have some of the positions each, and some of the experts."""
    dealt = (
        [f"trainer.strategy={{name: {LAYOUTS[layout]}, expert_parallel: true, sequence_parallel: true}}"]
        if layout in DEALT
        else []
    )
    alone = ["model.ffn.shared=none", "model.ffn.router.k=1"]  # else two ranks read all positions
    run = components.train(None, [*COMMON, *FAMILIES["MLA and MoE"], *alone, *laid_out(layout), *dealt], quiet=True)
    keep(run, folder / f"sent, {layout}.pt")


def part(layout: str, folder: Path) -> None:
    """Families whose ranks compute norms and the stream for a share of the positions each."""
    for family in PARTED:
        parted = [f"trainer.strategy={{name: {LAYOUTS[layout]}, sequence_parallel: true}}"] if layout in DEALT else []
        run = components.train(None, [*COMMON, *FAMILIES[family], *laid_out(layout), *parted], quiet=True)
        keep(run, folder / f"parted {family}, {layout}.pt")


def move(layout: str, folder: Path) -> None:
    """A run that is stopped, and goes on under another layout, several times, with an optimizer whose state is whole on owners."""
    # a schedule that does not know where it ends
    begin, run = [*COMMON, *FAMILIES["tied GPT"], "optimizer=soap", "optimizer.every=3", "schedule=constant"], None
    for part, where in enumerate(MOVES[layout], start=1):
        last = _steps[0] * part // len(MOVES[layout])
        run = components.train(None, [*begin, *laid_out(where.split()[0]), f"trainer.max_steps={last}"], quiet=True)
        begin = [f"resume={next(filter(None, everywhere(str(run.folder or ''))))}"]
    assert run is not None
    keep(run, folder / f"moved, {layout}.pt")


def keep(run: Result, file: Path) -> None:
    """Weights and losses of a run; on the first rank, which has them."""
    if run.folder is not None:
        held = torch.load(run.folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
        figures = {name: run.figures[name] for name in ("train_loss", "val_loss")}
        torch.save({"weights": held["state_dict"], "figures": figures}, file)


if __name__ == "__main__":
    Training.on_train_end = same_bits
    curves.draw = lambda *_: None  # nobody looks at these pictures, and each takes longer than five steps
    folder, how, *layouts = sys.argv[1:]
    _steps[0] = STEPS[how]
    for layout in layouts:
        out = Path(folder) / layout
        out.mkdir(parents=True, exist_ok=True)
        if layout == "one" or layout in DEALT:
            deal(layout, Path(folder))
            send(layout, Path(folder))
            part(layout, Path(folder))
        if layout in MOVES:
            drop(layout, Path(folder))
            move(layout, Path(folder))
        for family, accumulate in runs_of(layout, how):
            try:
                train(family, layout, accumulate, out)
            except Exception:  # what one cannot do, the others may; ranks of one run fail together
                (out / f"{family}, {accumulate}.txt").write_text(traceback.format_exc())
