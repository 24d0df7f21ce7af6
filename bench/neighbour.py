"""What a busy neighbour costs: training steps of the default recipe's model, alone and beside one process that keeps one of the cores busy.

``python bench/neighbour.py [--rounds 5] [--spins ours 0 100 10000 one] [--threads 2] [--write]``. Each spin count (``GOMP_SPINCOUNT``: how long a thread of
OpenMP that waits keeps its core before it sleeps; ``ours``: what a run chooses; ``one``: one thread, which waits for nobody) has a process of its own;
all take turns, alone and beside the neighbour, so that a machine that drifts drifts for all. Medians of steps a second, and of the ratios round by
round. ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import section

HEAD = "## Beside a busy process"
NOTICED = 2.5  # seconds: ours looks once a second what else runs, and is measured when it has seen it
OURS, FOUND = (
    "ours",
    "ours, begun alone",
)  # what the library chooses where the neighbour was there first, and where it came later
ONE = "one"


def steps(seconds: float) -> None:
    """A worker: each line on stdin asks for steps during ``seconds``; it answers with steps a second."""
    from components.core import allocator

    allocator.settle()  # as a run has it
    if os.environ.pop("NEIGHBOUR_OURS", ""):
        from components.core.threads import settle

        settle()
    import torch

    from components.compose import compose
    from components.core.makers import make
    from components.core.sockets import Batch
    from components.training.devices import precision_here
    from components.training.tuning import tuned

    config = compose(None, ["trainer.accelerator=cpu"]).config
    model = make(config["model"], "model", vocab_size=1024)
    loss = make(config["loss"], "loss", vocab_size=1024)
    optimizer = make(config["optimizer"], "optimizer", weights=tuned(model, config))
    ids = torch.randint(0, 1024, (config["task"]["batch_size"], config["model"]["context_length"]))
    batch = Batch(ids, targets=ids)
    half = precision_here(config["trainer"]["precision"], "cpu") == "bf16-mixed"

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            total, weight = model(batch, loss).losses["loss"]
        (total / weight).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(3):
        step()
    print("ready", torch.get_num_threads(), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        while time.perf_counter() - started < NOTICED:
            step()
        done, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            step()
            done += 1
        print(done / passed, flush=True)


class Worker:
    """Ready when it is made, so that each begins on a machine that does nothing else but what is beside it."""

    def __init__(self, spins: str, threads: int, seconds: float) -> None:
        env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
        count = {"OMP_NUM_THREADS": "1"} if spins == ONE else {"GOMP_SPINCOUNT": spins, "OMP_NUM_THREADS": str(threads)}
        env |= {"NEIGHBOUR_OURS": "1"} if spins == OURS else count
        command = [sys.executable, __file__, "--worker", str(seconds)]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.line().startswith("ready"):
            raise SystemExit(f"the worker with {spins} did not start")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def turn(self) -> float:
        self.begin()
        return float(self.line())

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def neighbour(core: int):
    """A process that keeps one core busy."""
    code = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Row:
    """One count of spins: steps a second, and shares of the fastest alone in the same round; medians over rounds."""

    spins: str
    threads: int
    alone: float
    of_best: float
    beside: float
    kept: float
    lowest: float
    highest: float


def at_once(seconds: float, rounds: int) -> float:
    """What two processes of one thread each do together, over one alone: as much as two threads could do if none of them ever waited for the other."""
    pair, found = [Worker(ONE, 1, seconds) for _ in range(2)], []
    for _ in range(rounds):
        alone = statistics.mean(w.turn() for w in pair)
        for w in pair:
            w.begin()
        found.append(sum(float(w.line()) for w in pair) / alone)
    for w in pair:
        w.process.kill()
        w.process.wait()
    return statistics.median(found)


def measure(spins: list[str], threads: int, rounds: int, seconds: float) -> list[Row]:
    core = max(os.sched_getaffinity(0))
    workers, later = {s: Worker(s, threads, seconds) for s in spins}, {}
    if OURS in spins:
        with neighbour(core):
            later = {OURS: Worker(OURS, threads, seconds)}
        spins = [OURS, FOUND, *(s for s in spins if s != OURS)]
    alone: dict[str, list[float]] = {s: [] for s in spins}
    beside: dict[str, list[float]] = {s: [] for s in spins}
    begun_alone = {FOUND if s == OURS else s: w for s, w in workers.items()}
    for _ in range(rounds):
        for s, w in begun_alone.items():
            alone[s].append(w.turn())
        if OURS in spins:
            alone[OURS].append(alone[FOUND][-1])
        with neighbour(core):
            for s, w in (*later.items(), *begun_alone.items()):
                beside[s].append(w.turn())
    for w in (*workers.values(), *later.values()):
        w.process.kill()
        w.process.wait()
    best = [max(alone[s][i] for s in spins) for i in range(rounds)]
    rows = []
    for s in spins:
        kept = [b / a for a, b in zip(best, beside[s])]
        of_best = [a / b for a, b in zip(alone[s], best)]
        medians = [statistics.median(x) for x in (alone[s], of_best, beside[s], kept)]
        rows.append(Row(s, 1 if s == ONE else threads, *medians, min(kept), max(kept)))
    return rows


def table(rows: list[Row], together: float) -> str:
    load = f"{os.getloadavg()[0]:.1f} processes ran or waited at its end" if hasattr(os, "getloadavg") else ""
    lines = [
        *(HEAD, ""),
        f"Made by `python bench/neighbour.py --write` on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores; {load}. Steps a second of the default",
        "recipe's model; the share that is left is that of the fastest alone in the same round. *Ours* looks once a second what else runs, and is",
        "measured when it has seen it: beside, it has begun beside; *begun alone*, the other process came later.",
        "",
    ]
    lines += ["| spins | threads | alone | of the fastest | beside | share left | spread |", "|---|--:|--:|--:|--:|--:|---|"]
    for r in rows:
        shares = f"{r.alone:.2f} | {r.of_best:.2f} | {r.beside:.2f} | {r.kept:.2f}"
        lines.append(f"| {'none' if r.spins == ONE else r.spins} | {r.threads} | {shares} | {r.lowest:.2f}–{r.highest:.2f} |")
    alone = {r.spins: r.alone for r in rows}
    if {OURS, ONE} <= alone.keys():
        threads = f"Alone, {rows[0].threads} threads are **{alone[OURS] / alone[ONE]:.2f}** times as fast as one."
        lines += [
            "",
            f"{threads} Two processes of one thread each, which never wait for one another, do {together:.2f} times as much as one.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--spins", nargs="+", default=[OURS, "0", "100", "10000", ONE])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    asked = parser.parse_args()
    if asked.worker:
        steps(asked.worker)
        return
    rows = measure(asked.spins, asked.threads, asked.rounds, asked.seconds)
    text = table(rows, at_once(asked.seconds, asked.rounds))
    print(json.dumps([asdict(r) for r in rows]) if asked.json else text)
    if asked.write:
        section.put("neighbour", text)


if __name__ == "__main__":
    main()
