"""Runs that are stopped at some step and go on, under the same layout of ranks or another one; docs/scale.md says how far they end from those that were not.

``python tests/distributed/relaid.py`` measures and prints, ``--write`` keeps the figures in docs/relaid.json and renews the table; under a minute on two
cores. ``relaid.py FOLDER RUNS``, under torchrun, is what it launches: RUNS says in JSON which runs, until when, and where they go on.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import rank_server

import components
from components.core.collectives import everywhere
from components.runs import checkpoints, curves, run_folder
from components.runs.metrics_file import MetricsFile
from components.training.preemption import Preemption
from components.training.signals import STOP, Preempted

ROOT = Path(__file__).parents[2]
PAGE, FIGURES = ROOT / "docs" / "scale.md", ROOT / "docs" / "relaid.json"
BEGIN, END = "<!-- written by tests/distributed/relaid.py -->", "<!-- end of relaid -->"
STEPS = 12
TEXT = "\n\n".join(f"the {w} number {i} is here" for i in range(40) for w in ("tree", "stone", "river"))
# dropout, an average of the weights, a schedule that knows where it ends, several epochs, two micro-batches a step
WORDS = [
    *("recipe=llama_tiny", "model.d_model=16", "model.n_layers=2", "model.context_length=16", "model.attention.n_heads=2"),
    *("model/head=tied", "model.embedding.dropout=0.2", "model.residual.dropout=0.2", "optimizer={name: ema, inner: adamw}"),
    *("schedule=wsd", "tokenizer=byte", "data=text", "data.path=text.txt", "task.batch_size=16", "task.validation_every=5"),
    *("task.samples=0", "task.judged_samples=0", f"trainer.max_steps={STEPS}", "trainer.accumulate_grad_batches=2"),
    *("trainer.accelerator=cpu", "trainer.precision=64-true", "trainer.log_every_n_steps=1"),
]
LAYOUTS = {
    "1 process": (1, "auto"),
    "ddp": (2, "ddp"),
    "fsdp2": (2, "fsdp2"),
    "fsdp2, sharded": (2, "{name: fsdp2, checkpoint: sharded}"),
    "fsdp2, asynchronous": (2, "{name: fsdp2, checkpoint: sharded, asynchronous: true}"),
    "tp, sharded": (2, "{name: tp, checkpoint: sharded}"),
    "hsdp, sharded": (4, "{name: hsdp, shard_size: 2, checkpoint: sharded}"),
    "fsdp2_tp, sharded": (4, "{name: fsdp2_tp, tensor_size: 2, checkpoint: sharded}"),
}
# one run goes on under each of them; all of two processes, and all of four, are beside one another, for the launches
CHAIN = [
    *("1 process", "ddp", "fsdp2", "fsdp2, sharded", "tp, sharded", "ddp"),
    *("hsdp, sharded", "fsdp2_tp, sharded", "1 process"),
]
ALONE = ["1 process", "ddp", "fsdp2, asynchronous", "hsdp, sharded"]  # stopped and gone on under the same
_stop = [0]


def stops(seed: int) -> tuple[list[int], int]:
    """(the steps at which the run of the chain is stopped, that at which the others are)."""
    draw = random.Random(seed)
    return sorted(draw.sample(range(1, STEPS), len(CHAIN) - 1)), draw.randrange(1, STEPS)


def plan(seed: int) -> dict[int, list[dict[str, Any]]]:
    """{processes: runs in their order}. The last run of the chain is under the key 0, since it comes after those of four processes."""
    steps, alone = stops(seed)
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: [], 4: [], 0: []}
    for layout in ALONE:
        ranks = LAYOUTS[layout][0]
        found[ranks].append({"layout": layout, "name": f"whole, {layout}", "stop": 0, "on": False})
        found[ranks].append({"layout": layout, "name": f"stopped, {layout}", "stop": alone, "on": False})
        found[ranks].append({"layout": layout, "name": f"stopped, {layout}", "stop": 0, "on": True})
    for i, (layout, stop) in enumerate(zip(CHAIN, [*steps, 0])):
        ranks = LAYOUTS[layout][0] if i < len(CHAIN) - 1 else 0
        found[ranks].append({"layout": layout, "name": "chain", "stop": stop, "on": i > 0})
    return found


def run(folder: Path, layout: str, name: str, stop: int, on: bool) -> None:
    """One run, or a part of it, in FOLDER/NAME; its losses are added to those of before."""
    ranks, strategy = LAYOUTS[layout]
    words = [f"trainer.strategy={strategy}", f"trainer.devices={ranks}"]
    runs, losses = folder / name, []
    if on:
        words.append(f"resume={run_folder.all_runs(runs)[0]}")
    else:
        words += [*WORDS, f"paths.runs={runs}"]
    _stop[0] = stop
    add = MetricsFile.add

    def noted(self: MetricsFile, step: int, **figures: Any) -> None:
        losses.append([step, figures.get("train_loss"), figures.get("val_loss")])
        add(self, step, **figures)

    MetricsFile.add = noted
    try:
        components.train(None, words, quiet=True)
    except (Preempted, SystemExit):
        assert stop, f"{name} was stopped"
    finally:
        MetricsFile.add = add
    if losses:
        with (runs / "losses.jsonl").open("a") as f:
            f.writelines(json.dumps(row) + "\n" for row in losses)
    everywhere(None)  # no rank looks for the run before it is there


def losses(folder: Path) -> dict[tuple[int, str], float]:
    """{(step, which): loss}; a step that was measured twice has its last figure."""
    rows = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    pairs = {(step, which): v for step, *both in rows for which, v in zip(("train", "validation"), both)}
    return {key: v for key, v in pairs.items() if v is not None}


def end(folder: Path) -> dict[str, Any]:
    """The last checkpoint of the run in FOLDER."""
    return {**checkpoints.read(run_folder.checkpoint_of(run_folder.all_runs(folder)[0], best=False))}


def difference(folder: Path, name: str, other: str) -> tuple[float, float]:
    """Largest difference of (weights, losses) between two runs."""
    one, two = (end(folder / n)["state_dict"] for n in (name, other))
    assert one.keys() == two.keys()
    here, there = losses(folder / name), losses(folder / other)
    assert here.keys() == there.keys(), f"{name} and {other} have figures of other steps"
    assert len(here) >= STEPS
    return max((w - two[n]).abs().max().item() for n, w in one.items()), max(abs(v - there[k]) for k, v in here.items())


def same_bits(one: object, other: object, where: str = "") -> None:
    """AssertionError unless two states hold the same, and their tensors the same bits."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor), where
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), f"{where} differs"
    elif isinstance(one, dict):
        assert isinstance(other, dict), where
        assert one.keys() == other.keys(), f"{where}: {one.keys()} and {other.keys()}"
        for key in one:
            same_bits(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert isinstance(other, (list, tuple)), where
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other)):
            same_bits(a, b, f"{where}.{i}")
    else:
        assert one == other, f"{where}: {one!r} and {other!r}"


def same_run(folder: Path, layout: str) -> None:
    """AssertionError unless the run that was stopped under a layout ended with every bit of that which was not."""
    one, other = (end(folder / f"{what}, {layout}") for what in ("whole", "stopped"))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "PackedDataModule", "global_step"):
        same_bits(one[part], other[part], f"{layout}: {part}")
    for part in ("random", "sums"):
        same_bits(one["components"][part], other["components"][part], f"{layout}: {part}")
    assert losses(folder / f"whole, {layout}") == losses(folder / f"stopped, {layout}"), layout


def launch(ranks: int, folder: Path, runs: list[dict[str, Any]]) -> None:
    """These runs in one launch, or in this process where it is one."""
    (folder / "text.txt").write_text(TEXT)
    if ranks < 2:
        before = os.getcwd()
        os.chdir(folder)
        try:
            main(folder, runs)
        finally:
            os.chdir(before)
        return
    rank_server.launch(ranks, Path(__file__), str(folder), json.dumps(runs), folder=folder)


def main(folder: Path, runs: list[dict[str, Any]]) -> None:
    agreed, draw = Preemption._agreed, curves.draw
    Preemption._agreed = lambda self, trainer: STOP if trainer.global_step == _stop[0] else agreed(self, trainer)
    curves.draw = lambda *_: None
    try:
        for one in runs:
            run(folder, **one)
    finally:
        Preemption._agreed, curves.draw = agreed, draw


def measured(folder: Path, seed: int) -> dict[str, Any]:
    """What docs/relaid.json keeps; AssertionError where a run on its own layout has another bit."""
    steps, alone = stops(seed)
    print(f"seed {seed}: stopped at {steps}, alone at {alone}")  # pytest shows it where something fails
    for ranks, runs in plan(seed).items():
        launch(ranks, folder, runs)
    for layout in ALONE:
        same_run(folder, layout)
    chain = difference(folder, "chain", "whole, 1 process")
    others = {layout: difference(folder, f"whole, {layout}", "whole, 1 process") for layout in ALONE if layout != "1 process"}
    return {"stops": steps, "alone": alone, "chain": chain, "others": others}


def table(found: dict[str, Any]) -> str:
    way = " → ".join(f"{layout} (until step {stop})" for layout, stop in zip(CHAIN, [*found["stops"], STEPS]))
    lines = [f"| a run of {STEPS} steps | weights | losses |", "|---|--:|--:|"]
    lines.append(f"| {way} | {found['chain'][0]:.0e} | {found['chain'][1]:.0e} |")
    lines += [
        f"| {layout}, stopped at step {found['alone']} or not | {w:.0e} | {v:.0e} |"
        for layout, (w, v) in found["others"].items()
    ]
    return "\n".join(lines)


def page(text: str, found: dict[str, Any]) -> str:
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{rest.partition(END)[2]}"


def today() -> int:
    return datetime.date.today().toordinal()


if __name__ == "__main__":
    if "WORLD_SIZE" in os.environ:
        main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as made:
            figures = measured(Path(made), seed=13)
        if "--write" in sys.argv:
            FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
            PAGE.write_text(page(PAGE.read_text(encoding="utf8"), figures), encoding="utf8")
        print(table(figures))
