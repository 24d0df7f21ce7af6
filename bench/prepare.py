"""Tokens a second of a preparation over 1, 2, ... workers, and the memory of a worker; by default on 300 MB of made-up text.

``python bench/prepare.py [--mb 30 300] [--workers 1 2] [--tokenizer bpe] [--near-duplicates 0.8] [--write]``; ``--write`` renews the table in
docs/scale.md. The text is drawn from a fixed seed and has 5 % duplicates. Each worker has one core (and one thread of the tokenizer's library), so one
against two workers is one core against two.

Two clocks: the wall's, which means something while nothing else runs, and that of the longest way, in seconds of a core: what the first process
computes, and in each step what the busiest worker computes, its start too. The second one needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from components import build
from components.corpus import prepare
from components.corpus.work import Asked, asking
from components.corpus.workers import Workers

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- written by bench/prepare.py -->", "<!-- end of prepare -->"
TICK = os.sysconf("SC_CLK_TCK")


def write(folder: Path, size: int) -> Path:
    """So many bytes of jsonl."""
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlucmfwypvbgkqjxz", k=draw.randrange(2, 10))) for _ in range(30_000)]
    file, done, kept = folder / "text.jsonl", 0, [""]
    with file.open("w", encoding="utf8") as f:
        while done < size:
            text = " ".join(draw.choices(words, k=draw.randrange(20, 600))) if draw.random() > 0.05 else draw.choice(kept)
            kept[len(kept) * (len(kept) > 99) :] = [text]
            line = json.dumps({"text": text}) + "\n"
            done += f.write(line)
    return file


def trained(file: Path, name: str, folder: Path) -> str:
    """The folder of a tokenizer trained on the first rows: training is not what is measured."""
    source = build("data", "text", path=str(file))
    tokenizer = build("tokenizer", name, **({} if name == "byte" else {"vocab_size": 8000}))
    tokenizer.train(d.text for d in islice(source.documents(), 2000))
    tokenizer.save(folder / "tokenizer.json")
    return str(folder)


@dataclass
class Watched:
    """Seconds of a core and memory of worker processes, read from /proc before they end."""

    longest: float = 0.0  # of the busiest worker in each step, summed
    memory: int = 0  # bytes, of the largest
    before: dict[int, float] = field(default_factory=dict)

    def look(self, workers: Workers) -> None:
        spent = []
        for process in workers.processes:
            place = Path(f"/proc/{process.pid}")
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) / TICK
            spent.append(seconds - self.before.get(process.pid, 0.0))
            self.before[process.pid] = seconds
            self.memory = max(self.memory, peak(process.pid))
        self.longest += max(spent, default=0.0)


def peak(pid: int) -> int:
    """Bytes that a process has held at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@dataclass
class Measured:
    """One preparation. Seconds by the wall's clock and of the longest way; bytes of the largest worker."""

    hash: str
    tokens: int
    wall: float
    longest: float
    memory: int


def measured(file: Path, tokenizer: str, workers: int, cache: Path, near: float | None) -> Measured:
    """Prepare into an empty cache."""
    watched, run = Watched(), Workers.run

    def watching(self: Workers, *given: object) -> object:
        made = run(self, *given)  # type: ignore[arg-type]  # whatever it takes
        watched.look(self)
        return made

    Workers.run = watching  # type: ignore[assignment, method-assign]  # the workers end within it, and are looked at before
    wall, own = time.perf_counter(), time.process_time()
    try:
        with asking(Asked(workers)):
            corpus = prepare(
                build("data", "text", path=str(file)),
                build("tokenizer", "pretrained", path=tokenizer),
                cache=cache,
                near_duplicates=near,
            )
    finally:
        Workers.run = run  # type: ignore[method-assign]  # as it was
    wall, own = time.perf_counter() - wall, time.process_time() - own
    return Measured(corpus.hash, sum(corpus.tokens.values()), wall, own + watched.longest, watched.memory)


def table(rows: dict[tuple[int, int], Measured], load: float) -> str:
    """``rows``: by MB and workers."""
    out = [
        "| MB of text | workers | tokens | s | s of a core | tokens a second of a core | MB of a worker at most |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for (mb, workers), m in rows.items():
        speed = f"{m.tokens / m.longest:,.0f}"
        out.append(f"| {mb} | {workers} | {m.tokens:,} | {m.wall:.1f} | {m.longest:.1f} | {speed} | {m.memory / 1e6:.0f} |")
    for mb in sorted({mb for mb, _ in rows}):
        first, *others = [(workers, m) for (size, workers), m in rows.items() if size == mb]
        for workers, m in others:
            times, wall = first[1].longest / m.longest, first[1].wall / m.wall
            out.append(
                f"\n{mb} MB, {workers} workers against {first[0]}: {times:.2f} times as fast by seconds of a core, {wall:.2f} by the clock."
            )
    out.append(
        f"\nMeasured on {os.cpu_count()} cores under a load of {load:.1f}: with more than one, seconds of the clock say little."
    )
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, nargs="+", default=[300])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokenizer", default="bpe")
    parser.add_argument("--near-duplicates", type=float, help="seek them, alike by so much")
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many counts")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/scale.md")
    asked = parser.parse_args()
    rows: dict[tuple[int, int], Measured] = {}
    load = 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for mb in asked.mb:
            file = write(folder, mb * 10**6)
            tokenizer = trained(file, asked.tokenizer, folder / "tokenizer")
            load = os.getloadavg()[0]
            for _ in range(asked.rounds):
                for workers in asked.workers:
                    made = measured(file, tokenizer, workers, folder / "cache", asked.near_duplicates)
                    shutil.rmtree(folder / "cache")
                    held = rows.setdefault((mb, workers), made)
                    assert held.hash == made.hash == rows[mb, asked.workers[0]].hash, (
                        "the same corpus, whatever the number of workers"
                    )
                    rows[mb, workers] = min(held, made, key=lambda m: m.longest)
    print(table(rows, load))
    print(f"the process that puts together: {peak(os.getpid()) / 1e6:.0f} MB at most, the tokenizer's training too")
    if asked.write:
        text = PAGE.read_text(encoding="utf8")
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows, load)}\n\n{END}{rest.partition(END)[2]}", encoding="utf8")


if __name__ == "__main__":
    main()
