"""Seconds of training until nanoGPT's final validation loss: its recipe for a CPU, and a recipe of ours, on the characters of tinyshakespeare.

``python bench/time_to_loss.py [--data FILE] [--seeds 3] [--write]``. nanoGPT's README: 4 layers of 128, 4 heads, 12 rows of 64 characters, 2,000 steps of AdamW
in fp32, a cosine after 100 steps of warm-up; its model is bench/nanogpt.py. Ours has the same width, depth and rows. Each side tunes its rate by as many
runs, on a seed that is not reported. Then they take turns, seed by seed. Time is that of the training steps alone; the loss is over the whole tenth that
is held out, and ours has reached the other's when it is no higher. ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line has it, for both

import section
import torch
from nanogpt import NanoGPT
from torch import Tensor, nn

from components import build
from components.core import allocator
from components.core.makers import make
from components.core.sockets import Batch
from components.core.weights import roles
from components.training.devices import precision_here

HEAD = "## Until nanoGPT's loss"
DATA = Path(__file__).parents[2] / "shared" / "data" / "tinyshakespeare.txt"
LAYERS, HEADS, WIDTH, LENGTH, ROWS = 4, 4, 128, 64, 12
TUNING = 1000  # the seed of the runs that choose a rate
STEPS = {"nanoGPT": 2000, "ours": 650}
EVERY = 15  # steps of ours from look to look
RATES = {"nanoGPT": (2e-3, 4e-3, 8e-3), "ours": (0.02, 0.03, 0.045)}
OPTIONS = {
    **{"name": "decoder", "d_model": WIDTH, "n_layers": LAYERS, "context_length": LENGTH, "position": "rope", "norm": "rms"},
    **{
        "attention": {"name": "mha", "n_heads": HEADS, "qk_norm": "rms"},
        "ffn": {"name": "mlp", "activation": "relu2"},
        "init": "zero_out",
    },
}
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Text:
    """Characters by number: what is learnt, and rows of LENGTH that are held out."""

    train: Tensor
    held: Tensor
    size: int

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(ROWS, LENGTH) of characters drawn anywhere, and what follows each."""
        first = torch.randint(len(self.train) - LENGTH, (ROWS, 1), generator=generator) + torch.arange(LENGTH)
        return self.train[first], self.train[first + 1]

    @torch.no_grad()
    def loss(self, model: nn.Module, loss: Loss) -> float:
        """Over all that is held out, in the precision of training."""
        model.eval()
        found = [float(loss(x[:, :-1], x[:, 1:])) * len(x) for x in self.held.split(256)]
        model.train()
        return sum(found) / len(self.held)


def read(path: Path) -> Text:
    text = path.read_text(encoding="utf8")
    number = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = torch.tensor([number[c] for c in text])
    cut = int(0.9 * len(ids))
    return Text(ids[:cut], ids[cut:].unfold(0, LENGTH + 1, LENGTH), len(number))


@dataclass(frozen=True)
class Run:
    """What a run came to: (seconds of training, loss of what is held out) at each look."""

    looks: list[tuple[float, float]]

    @property
    def seconds(self) -> float:
        return self.looks[-1][0]

    @property
    def loss(self) -> float:
        return self.looks[-1][1]

    def until(self, loss: float) -> float:
        """Seconds until the loss was no higher; infinite if it never was."""
        return next((s for s, found in self.looks if found <= loss), math.inf)


def trained(
    text: Text,
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    rate: Callable[[int], float],
    run: tuple[int, int, int],
) -> Run:
    """So many steps of a seed, with a look at what is held out every so many: ``run`` is (seed, steps, every)."""
    seed, steps, every = run
    generator = torch.Generator().manual_seed(seed)
    peaks = [group["lr"] for group in optimizer.param_groups]
    looks, spent = [], 0.0
    for step in range(steps):
        started = time.perf_counter()
        for group, peak in zip(optimizer.param_groups, peaks):
            group["lr"] = peak * rate(step)
        optimizer.zero_grad(set_to_none=True)
        loss(*text.batch(generator)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        spent += time.perf_counter() - started
        if (step + 1) % every == 0 or step + 1 == steps:
            looks.append((spent, text.loss(model, loss)))
    return Run(looks)


def nanogpt(text: Text, lr: float, seed: int) -> Run:
    torch.manual_seed(seed)
    steps = STEPS["nanoGPT"]
    model = NanoGPT(text.size, LENGTH, WIDTH, LAYERS, HEADS, bias=False)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)

    def rate(step: int) -> float:  # train.py, get_lr: down to a tenth
        if step < 100:
            return (step + 1) / 101
        return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 100) / (steps - 100)))

    return trained(text, model, model, optimizer, rate, (seed, steps, steps))


def ours(text: Text, lr: float, seed: int) -> Run:
    torch.manual_seed(seed)
    steps = STEPS["ours"]
    model = make(OPTIONS, "model", vocab_size=text.size)
    following = build("loss", "next_token", vocab_size=text.size)
    optimizer = build("optimizer", "muon", weights=list(roles(model)), lr=lr, adamw_lr=lr / 7.5)
    schedule = build("schedule", "wsd", total_steps=steps)
    half = precision_here("auto", "cpu") == "bf16-mixed"

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            total, count = model(Batch(x, targets=y), following).losses["loss"]
        return total / count

    return trained(text, model, loss, optimizer, schedule, (seed, steps, EVERY))


SIDES: dict[str, Callable[[Text, float, int], Run]] = {"nanoGPT": nanogpt, "ours": ours}


def tuned(text: Text, name: str) -> tuple[float, list[tuple[float, Run]]]:
    """The rate whose run has the lowest loss, and all runs that were tried."""
    tried = [(rate, SIDES[name](text, rate, TUNING)) for rate in RATES[name]]
    for rate, run in tried:
        print(f"{name:8} tuning {rate:g}: {run.loss:.4f} after {run.seconds:.1f} s", flush=True)
    return min(tried, key=lambda pair: pair[1].loss)[0], tried


def table(rates: dict[str, float], tried: dict[str, list[tuple[float, Run]]], pairs: list[tuple[Run, Run]]) -> str:
    shares = [ours.until(theirs.loss) / theirs.seconds for theirs, ours in pairs]
    what = "; ".join(f"{name} {', '.join(f'{rate:g} {run.loss:.3f}' for rate, run in runs)}" for name, runs in tried.items())
    half = "bf16" if precision_here("auto", "cpu") == "bf16-mixed" else "fp32"
    lines = [
        *(HEAD, ""),
        f"Made by `python bench/time_to_loss.py --write` on {time.strftime('%Y-%m-%d')}, {torch.get_num_threads()} threads, torch {torch.__version__}.",
        "nanoGPT's recipe for a CPU on tinyshakespeare (4 layers of 128, 2,000 steps of 12 rows of 64 characters, AdamW, fp32), and ours of the same width, depth",
        f"and rows: rotary positions, RMSNorm, normed queries and keys, squared ReLU, outputs that begin at zero, Muon, {STEPS['ours']} steps, {half}. Seconds of",
        f"training steps alone; the loss is over all that is held out, and ours is looked at every {EVERY} steps. Each tuned its rate on another seed",
        f"by {len(RATES['ours'])} runs (rate and loss: {what}).",
        "",
        "| seed | nanoGPT's loss | nanoGPT | ours until then | share | ours in the end |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for seed, ((theirs, ours), share) in enumerate(zip(pairs, shares)):
        lines.append(
            f"| {seed} | {theirs.loss:.4f} | {theirs.seconds:.1f} s | {ours.until(theirs.loss):.1f} s | {share:.2f} | {ours.loss:.4f} after {ours.seconds:.1f} s |"
        )
    lines += [
        "",
        f"Median share: **{statistics.median(shares):.2f}**. Rates: " + ", ".join(f"{n} {r:g}" for n, r in rates.items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="tinyshakespeare.txt, which is not in the repository")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    asked = parser.parse_args()
    if not asked.data.is_file():
        raise SystemExit(f"{asked.data}: no such file; --data says where tinyshakespeare.txt is")
    allocator.settle()  # for both
    text = read(asked.data)
    rates, tried = {}, {}
    for name in SIDES:
        rates[name], tried[name] = tuned(text, name)
    pairs = []
    for seed in range(asked.seeds):
        theirs, mine = (SIDES[name](text, rates[name], seed) for name in SIDES)
        print(f"seed {seed}: {theirs.loss:.4f} after {theirs.seconds:.1f} s; ours {mine.until(theirs.loss):.1f} s", flush=True)
        pairs.append((theirs, mine))
    made = table(rates, tried, pairs)
    print(made)
    if asked.write:
        section.put("time_to_loss", made)


if __name__ == "__main__":
    main()
