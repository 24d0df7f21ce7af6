"""What the trainer costs around a step: steps of a run against a bare loop over the same model, rows and optimizer, in turns within one run.

``python bench/trainer.py [--steps 200] [--rounds 15] [--profile] [--write]``. The bare loop is a reader's own: the loss of the model, backward, torch's
``clip_grad_norm_``, the optimizer's step, gradients set to None. It takes the batches that the run takes, ready made. A round is ``--steps`` steps of each;
given are medians over the rounds, in milliseconds a step by the wall and in seconds of this thread, which a busy machine spoils less. ``--profile`` says
which functions of Python take it. ``--write`` puts the table into docs/performance.md.
"""

# ruff: noqa: ARG002  Lightning's hooks have fixed arguments
from __future__ import annotations

import argparse
import copy
import cProfile
import os
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import section
import torch
from lightning.pytorch import Callback

HEAD = "## The trainer around a step"
TINY = [
    *(
        "model.n_layers=1",
        "model.d_model=16",
        "model.attention.n_heads=2",
        "model.attention.n_kv_heads=2",
        "model.context_length=8",
    ),
    *("tokenizer=byte", "data=text", "data.path=text.txt", "optimizer=adamw", "task.batch_size=2", "task.samples=0"),
    *("task.judged_samples=0", "task.validation_every=1000000", "trainer.gradient_clip_val=1.0", "trainer.accelerator=cpu"),
    *("trainer.devices=1", "trainer.precision=32-true", "callbacks.paired=true"),
]
Times = tuple[float, float]  # by the wall, of the thread


def now() -> Times:
    return time.perf_counter(), time.thread_time()


class Paired(Callback):
    """After each ``steps`` steps of the run, as many of the bare loop; both are timed, and the first round is left out."""

    steps, rounds, profile = 200, 15, False

    def __init__(self) -> None:
        self.run: list[Times] = []
        self.bare: list[Times] = []
        self.batches: list[Any] = []
        self.began: Times | None = None
        self.profiler = cProfile.Profile() if self.profile else None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.model = copy.deepcopy(pl_module.placed)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if len(self.batches) < self.steps:
            self.batches.append(batch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.steps:
            return
        if self.profiler is not None:
            self.profiler.disable()
        if self.began is not None:
            ended = now()
            self.run.append((ended[0] - self.began[0], ended[1] - self.began[1]))
            begun = now()
            for item in self.batches:
                self.one(pl_module, item)
            ended = now()
            self.bare.append((ended[0] - begun[0], ended[1] - begun[1]))
        if self.profiler is not None:
            self.profiler.enable()
        self.began = now()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.profiler is not None:
            self.profiler.disable()

    def one(self, task: Any, item: Any) -> None:
        value, weight = self.model(item.batch, task.loss).losses["loss"]
        (value / weight).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def measured(steps: int, rounds: int, profile: bool) -> Paired:
    import components

    seen: list[Paired] = []

    class Counted(Paired):
        def __init__(self) -> None:
            super().__init__()
            seen.append(self)

    Paired.steps, Paired.rounds, Paired.profile = steps, rounds, profile
    components.register("callback", "paired")(Counted)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        here = os.getcwd()
        os.chdir(folder)
        try:
            Path("text.txt").write_text("\n\n".join(f"The tree {i} and the stone by the river. " * 40 for i in range(200)))
            components.train("llama_tiny", [*TINY, f"trainer.max_steps={steps * (rounds + 1)}"], quiet=True)
        finally:
            os.chdir(here)
    return seen[-1]


def text(paired: Paired) -> str:
    lines = ["| by | a run | bare loop | difference | spread of the differences |", "|---|---|---|---|---|"]
    for i, by in enumerate(("the wall", "the thread's own time")):
        run, bare = ([1e3 * times[i] / Paired.steps for times in side] for side in (paired.run, paired.bare))
        apart = [a - b for a, b in zip(run, bare)]
        low, _, high = statistics.quantiles(apart, n=4)
        lines.append(
            f"| {by} | {statistics.median(run):.2f} ms | {statistics.median(bare):.2f} ms | **+{statistics.median(apart):.2f} ms** | {low:.2f} to {high:.2f} |"
        )
    said = (
        f"One layer of width 16, two rows of 8 tokens, AdamW, clipping by norm; {len(paired.run)} rounds of {Paired.steps} steps of each, in turns in one "
        f"process with one thread; torch {torch.__version__}; {os.getloadavg()[0]:.1f} processes ran or waited at its end. `python bench/trainer.py --write`."
    )
    return "\n".join([HEAD, "", said, "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--profile", action="store_true", help="also print the functions of Python that take the most time in a run's steps"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    args = parser.parse_args()
    paired = measured(args.steps, args.rounds, args.profile)
    print(text(paired))
    if paired.profiler is not None:
        pstats.Stats(paired.profiler).sort_stats("tottime").print_stats(45)
    if args.write:
        section.put("trainer", text(paired))


if __name__ == "__main__":
    main()
