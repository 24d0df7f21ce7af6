"""Runs that are killed at random instants, in the middle of writing too, go on and end with the weights of the run that nobody killed.

``python tests/training/killed.py --kills 300 --write`` keeps the count in docs/kills.json and renews its lines in docs/scale.md, ``--more`` adds
it to that which is kept, ``--ranks 2`` is that of two
processes under ddp, of which one or both are killed, ``--sharded`` that of two which write a folder of shards, and ``--asynchronous`` while they train. Each
process is forked from one that has imported everything, so that an instant costs a second and not ten. A checkpoint is written after each step, so that many
kills meet one half written.
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
from typing import TypedDict

import torch

import components.training.experiment  # before any process is forked  # noqa: F401
from components.cli import main as command
from components.core.publishing import held
from components.runs import checkpoints
from components.runs.metrics_file import read_rows

sys.path.insert(0, str(Path(__file__).parent))
from rank_server import environments, held_port

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
MET = 0.5  # share of the kills of runs in shards that wait until something is being written
WAYS = {  # processes and strategy
    "1": (1, "auto"),
    "2": (2, "ddp"),
    "2, sharded": (2, "{name: fsdp2, checkpoint: sharded}"),
    "2, asynchronous": (2, "{name: fsdp2, checkpoint: sharded, asynchronous: true}"),
}
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


def child(folder: Path, words: Sequence[str], env: dict[str, str]) -> None:
    os.setpgrp()
    os.chdir(folder)
    with open("said.txt", "a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    torch.set_num_threads(1)
    os.environ.update(env)
    code = 1
    try:
        code = command(["train", *words, "paths.runs=runs", f"paths.cache={folder.parent}/cache"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def train(
    folder: Path,
    *words: str,
    kill_after: float | None = None,
    from_start: bool = False,
    way: str = "1",
    victims: Sequence[int] = (0,),
    met: float | None = None,
) -> list[int]:
    """The command in processes of its own; their exit codes, negative if killed: so many seconds after the beginning, or after the first checkpoint.

    ``victims``: the ranks that are killed. Others must see it and end by themselves. ``met``: seconds after something is begun to be written, from then on.
    """
    ranks, strategy = WAYS[way]
    words = (*words, f"trainer.devices={ranks}", f"trainer.strategy={strategy}", "trainer.timeout=20")
    socket, port = held_port()
    processes = [FORK.Process(target=child, args=(folder, words, env)) for env in environments(ranks, port)]
    for process in processes:
        process.start()
    if kill_after is not None:
        while all(p.is_alive() for p in processes) and not from_start and last_of(folder) is None:
            time.sleep(0.001)
        processes[0].join(kill_after)
        if met is not None:
            while all(p.is_alive() for p in processes) and not halves(folder):
                pass
            time.sleep(met)
        for rank in victims:
            processes[rank].kill()
    for process in processes:
        process.join(200)  # before ranks have met, torch tries for twice this time and more
        assert process.exitcode is not None, f"does not end: {(folder / 'said.txt').read_text()[-3000:]}"
    socket.close()
    return [p.exitcode or 0 for p in processes]


def last_of(folder: Path) -> Path | None:
    """The newest run's last.ckpt, if it has come to one, wherever it stands: a folder steps aside for a newer one."""
    found = sorted((folder / "runs").glob("*/*/checkpoints"))
    last = held(found[-1] / "last.ckpt") if found else None
    return last if last is not None and last.exists() else None


def halves(folder: Path) -> list[Path]:
    """What is being written, or was when the run was killed."""
    return [*(folder / "runs").glob("*/*/checkpoints/*.part*"), *(folder / "runs").glob("*/*/checkpoints/*.before")]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    last = last_of(folder)
    assert last is not None
    return checkpoints.weights_in(checkpoints.read(last))


def whole(folder: Path, way: str = "1") -> tuple[dict[str, torch.Tensor], float]:
    """The weights of a run that nobody kills, and how many seconds it takes from its first checkpoint to its end."""
    prepare(folder)
    assert not any(train(folder, "recipe=./tiny.yaml", way=way)), (folder / "said.txt").read_text()
    last = last_of(folder)
    assert last is not None
    first = read_rows(last.parents[1] / "metrics.csv")[0]["seconds"]
    return weights_of(folder), last.stat().st_mtime - (last.parents[1] / "config.yaml").stat().st_mtime - first


def strike(
    folder: Path,
    after: float,
    from_start: bool,
    expected: dict[str, torch.Tensor],
    counts: Counts,
    victims: Sequence[int],
    way: str,
    met: float | None = None,
) -> None:
    """Kill a run ``after`` so many seconds (see ``train``), let it go on, and hold its end against ``expected``."""
    prepare(folder)
    codes = train(folder, "recipe=./tiny.yaml", kill_after=after, from_start=from_start, way=way, victims=victims, met=met)
    said = (folder / "said.txt").read_text() if (folder / "said.txt").exists() else ""
    counts.kills += 1
    assert all(codes[rank] in (0, -signal.SIGKILL) for rank in victims), codes
    killed = any(codes[rank] for rank in victims)
    left = [code for rank, code in enumerate(codes) if rank not in victims]
    assert all(code == 1 if killed else code == 0 for code in left) or not any(left), f"{codes}: {said[-3000:]}"
    last = last_of(folder)
    if last is None:
        counts.before_a_checkpoint += 1
        assert not any(train(folder, "recipe=./tiny.yaml", way=way))
    elif not killed:
        counts.after_the_end += 1
    else:
        saved = checkpoints.read(last)["global_step"]  # whole, whatever it was killed in
        rows = read_rows(last.parents[1] / "metrics.csv")
        lost = max((row["step"] for row in rows), default=0) - saved
        assert lost <= 1, f"{lost} steps are lost, and each was to be saved"
        counts.steps_lost = max(counts.steps_lost, int(lost))
        writing = bool(halves(folder))
        counts.while_writing += writing
        counts.in_training += not writing
        if saved < 30:
            assert not any(train(folder, "resume=auto", way=way)), (folder / "said.txt").read_text()[-3000:]
    found = weights_of(folder)
    assert all(torch.equal(value, found[name]) for name, value in expected.items()), "it ended with other weights"


def many(kills: int, folder: Path, seed: int, say: Callable[[Counts], object] = lambda _: None, *, way: str = "1") -> Counts:
    """So many kills, at instants drawn from ``seed``; of several ranks one of them, or all."""
    expected, seconds = whole(folder / "whole", way)
    ranks, strategy = WAYS[way]
    draws, counts = random.Random(seed), Counts()
    for number in range(kills):
        early, after = draws.random() < EARLY, draws.uniform(0.0, seconds)
        # before ranks have met, one that is left waits for five minutes and more
        victims = range(ranks) if early or draws.random() < 0.5 else [draws.randrange(ranks)]
        met = draws.uniform(0.0, 0.02) if "sharded" in strategy and draws.random() < MET else None
        strike(folder / f"run{number}", after, early, expected, counts, victims, way, met)
        shutil.rmtree(folder / f"run{number}")
        say(counts)
    return counts


def together(some: Counts, more: Counts) -> Counts:
    """The kills of both."""
    both = Counts(**{name: n + asdict(more)[name] for name, n in asdict(some).items()})
    both.steps_lost = max(some.steps_lost, more.steps_lost)
    return both


class Held(TypedDict):
    """What docs/kills.json keeps of so many processes."""

    date: str
    counts: dict[str, int]


def sentences(kept: dict[str, Held]) -> str:
    """A line for each way."""
    heads = "| processes | kills | while training | in the middle of writing | before the first checkpoint | just after the end | steps lost, at most | date |"
    rows = [heads, "|---|--:|--:|--:|--:|--:|--:|---|"]
    for way, one in sorted(kept.items(), key=lambda pair: [*WAYS].index(pair[0])):
        c = Counts(**one["counts"])
        cells = (way, c.kills, c.in_training, c.while_writing, c.before_a_checkpoint, c.after_the_end, c.steps_lost)
        rows.append(f"| {' | '.join(map(str, cells))} | {one['date']} |")
    return "\n".join(rows)


def page(text: str, said: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{said}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--ranks", dest="way", choices=["1", "2"], default="1")
    which.add_argument("--sharded", dest="way", action="store_const", const="2, sharded")
    which.add_argument("--asynchronous", dest="way", action="store_const", const="2, asynchronous")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--more", action="store_true", help="of another seed than those that are kept")
    args = parser.parse_args()
    kept: dict[str, Held] = json.loads(FIGURES.read_text(encoding="utf8")) if FIGURES.exists() else {}
    before = Counts(**kept[args.way]["counts"]) if args.more and args.way in kept else Counts()

    def keep(counts: Counts) -> None:
        """After each kill, so that whoever ends this early has an honest count."""
        print(f"\r{counts}", end="", file=sys.stderr, flush=True)
        kept[args.way] = {"date": time.strftime("%Y-%m-%d"), "counts": asdict(together(before, counts))}
        if args.write:
            FIGURES.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf8")
            PAGE.write_text(page(PAGE.read_text(encoding="utf8"), sentences(kept)), encoding="utf8")

    with tempfile.TemporaryDirectory() as made:
        many(args.kills, Path(made), args.seed, keep, way=args.way)
    print(sentences(kept))


if __name__ == "__main__":
    main()
