"""Runs that are killed at random instants, in the middle of writing too, go on and end with the weights of the run that nobody killed.

``python tests/training/killed.py --kills 300 --write`` keeps the count in docs/kills.json and renews its line in docs/scale.md. Each process is forked from one that
has imported everything, so that an instant costs a second and not ten. A checkpoint is written after each step, so that many kills meet one half written.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import components.training.experiment  # before any process is forked  # noqa: F401
from components.cli import main as command
from components.runs import checkpoints
from components.runs.metrics_file import read_rows

ROOT = Path(__file__).parents[2]
PAGE, FIGURES = ROOT / "docs" / "scale.md", ROOT / "docs" / "kills.json"
BEGIN, END = "<!-- written by tests/training/killed.py -->", "<!-- end of kills -->"
RECIPE = """defaults:
  - override /tokenizer: byte
  - override /data: text
  - override /optimizer: adamw
model: {d_model: 16, n_layers: 1, context_length: 16, attention: {n_heads: 2}, embedding: {dropout: 0.1}}
data: {path: ./text.txt}
task: {batch_size: 8, validation_every: 1, samples: 0, judged_samples: 0, validation_batches: 1}
optimizer: {lr: 0.01}
trainer: {max_steps: 30, log_every_n_steps: 1, accelerator: cpu, precision: 32-true, enable_progress_bar: false}
"""
EARLY = 0.1  # share of the kills that may come before the first checkpoint
FORK = multiprocessing.get_context("fork")


@dataclass
class Counts:
    """What came of so many kills."""

    kills: int = 0
    before_a_checkpoint: int = 0  # the run began anew
    in_training: int = 0
    while_writing: int = 0  # a file that was being written was left
    after_the_end: int = 0  # it had ended just before
    steps_lost: int = 0  # at most, of any kill: rows that were written and whose step was not saved


def prepare(folder: Path) -> None:
    """The recipe and its text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "text.txt").write_text(
        "\n\n".join(f"the {w} number {i} is here" for i in range(60) for w in ("tree", "stone", "river"))
    )


def child(folder: Path, words: Sequence[str]) -> None:
    os.setpgrp()
    os.chdir(folder)
    with open("said.txt", "a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    torch.set_num_threads(1)
    os._exit(command(["train", *words, "paths.runs=runs", f"paths.cache={folder.parent}/cache"]))


def train(folder: Path, *words: str, kill_after: float | None = None, from_start: bool = False) -> int:
    """The command in a process of its own; its exit code, which is negative if it was killed: so many seconds after it began, or after its first checkpoint."""
    process = FORK.Process(target=child, args=(folder, words))
    process.start()
    if kill_after is not None:
        while process.is_alive() and not from_start and last_of(folder) is None:
            time.sleep(0.001)
        process.join(kill_after)
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def last_of(folder: Path) -> Path | None:
    """The newest run's last.ckpt, if it has come to one."""
    found = sorted((folder / "runs").glob("*/*/checkpoints/last.ckpt"))
    return found[-1] if found else None


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    last = last_of(folder)
    assert last is not None
    return checkpoints.weights_in(checkpoints.read(last))


def whole(folder: Path) -> tuple[dict[str, torch.Tensor], float]:
    """The weights of a run that nobody kills, and how many seconds it takes from its first checkpoint to its end."""
    prepare(folder)
    assert train(folder, "recipe=./tiny.yaml") == 0
    last = last_of(folder)
    assert last is not None
    first = read_rows(last.parents[1] / "metrics.csv")[0]["seconds"]
    return weights_of(folder), last.stat().st_mtime - (last.parents[1] / "config.yaml").stat().st_mtime - first


def strike(folder: Path, after: float, from_start: bool, expected: dict[str, torch.Tensor], counts: Counts) -> None:
    """Kill a run ``after`` so many seconds (see ``train``), let it go on, and hold its end against ``expected``."""
    prepare(folder)
    code = train(folder, "recipe=./tiny.yaml", kill_after=after, from_start=from_start)
    counts.kills += 1
    assert code in (0, -signal.SIGKILL), code
    last = last_of(folder)
    if last is None:
        counts.before_a_checkpoint += 1
        assert train(folder, "recipe=./tiny.yaml") == 0
    elif code == 0:
        counts.after_the_end += 1
    else:
        saved = checkpoints.read(last)["global_step"]  # whole, whatever it was killed in
        rows = read_rows(last.parents[1] / "metrics.csv")
        lost = max((row["step"] for row in rows), default=0) - saved
        assert lost <= 1, f"{lost} steps are lost, and each was to be saved"
        counts.steps_lost = max(counts.steps_lost, int(lost))
        halves = [f for f in last.parent.iterdir() if ".part" in f.name]
        counts.while_writing += bool(halves)
        counts.in_training += not halves
        if saved < 30:
            assert train(folder, "resume=auto") == 0, (folder / "said.txt").read_text()
    found = weights_of(folder)
    assert all(torch.equal(value, found[name]) for name, value in expected.items()), "it ended with other weights"


def many(kills: int, folder: Path, seed: int, say: Callable[[Counts], object] = lambda _: None) -> Counts:
    """So many kills, at instants drawn from ``seed``."""
    expected, seconds = whole(folder / "whole")
    draws, counts = random.Random(seed), Counts()
    for number in range(kills):
        early = draws.random() < EARLY
        strike(folder / f"run{number}", draws.uniform(0.0, seconds), early, expected, counts)
        shutil.rmtree(folder / f"run{number}")
        say(counts)
    return counts


def sentence(counts: Counts, date: str) -> str:
    return (
        f"{date}: {counts.kills} kills by SIGKILL at random instants: {counts.in_training} while training, {counts.while_writing} in the middle of writing\n"
        f"a checkpoint, {counts.before_a_checkpoint} before the first one (the run began anew), {counts.after_the_end} just after the end. Each run went on from\n"
        f"a whole checkpoint by `resume=auto`, lost at most {counts.steps_lost} step that had been taken, and ended with the bits of the run that nobody killed."
    )


def page(text: str, said: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{said}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        counts = many(args.kills, Path(made), args.seed, lambda c: print(f"\r{c}", end="", file=sys.stderr, flush=True))
    held = {"date": time.strftime("%Y-%m-%d"), "counts": asdict(counts)}
    print(sentence(counts, held["date"]))
    if args.write:
        FIGURES.write_text(json.dumps(held, indent=1) + "\n", encoding="utf8")
        PAGE.write_text(page(PAGE.read_text(encoding="utf8"), sentence(counts, held["date"])), encoding="utf8")


if __name__ == "__main__":
    main()
