"""What a rank's batch costs it, however many ranks there are and however long the corpus is; writes the tables of docs/scale.md.

``python bench/scale.py`` measures and prints; ``--write`` also keeps the figures in docs/scale.json and renews the tables in docs/scale.md, ``--render``
makes the tables again from what was kept. Ranks are simulated: the loader of one rank is asked for its batches. A corpus of 10¹⁰ tokens is a sparse file.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TypedDict

import numpy as np

from components.corpus.blocks import Blocks
from components.corpus.corpus import Split
from components.corpus.framing import Frame
from components.corpus.steps import TrainSteps

ROOT = Path(__file__).parent.parent
PAGE, FIGURES = ROOT / "docs" / "scale.md", ROOT / "docs" / "scale.json"
RANKS = (1, 8, 64, 512, 4096)
TOKENS = (10**6, 10**7, 10**8, 10**9, 10**10)
ROWS, T = 8, 1024  # of a rank's batch


class Figures(TypedDict):
    """What is kept: the machine, and {row: {figure: value}}."""

    machine: str
    cells: dict[str, dict[str, float]]


BEGIN, END = "<!-- written by bench/scale.py -->", "<!-- end -->"


def corpus(folder: Path, tokens: int) -> Split:
    """A split of so many tokens, mapped from a file that has no data of its own."""
    file = folder / f"{tokens}.bin"
    with file.open("wb") as f:
        f.truncate(2 * tokens)
    return Split(
        "train", np.memmap(file, dtype=np.uint16, mode="r"), np.zeros(1, dtype=np.int64), 4 * tokens, Frame((), (1,), 1)
    )


def cost(split: Split, ranks: int, batches: int = 100) -> dict[str, float]:
    """Median milliseconds of a batch of the last rank, and the peak of what Python and NumPy allocate for one, in MB; the first batch apart.

    The batches are read twice and timed the second time, when the system has their pages: what a disk needs for them is not our work.
    """
    steps = TrainSteps(Blocks(split, T, seed=0), ROWS * ranks, 1, ranks - 1, ranks, True)
    begun = time.perf_counter()
    steps[0]
    first = time.perf_counter() - begun
    times: list[float] = []
    for _ in range(2):
        times.clear()
        for i in range(1, batches):
            begun = time.perf_counter()
            steps[i]
            times.append(time.perf_counter() - begun)
    tracemalloc.start()
    for i in range(batches, batches + 3):
        steps[i]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"first_ms": 1e3 * first, "ms": 1e3 * statistics.median(times), "peak_mb": peak / 1e6}


def measured() -> Figures:
    """The figures of both tables, each cell the least of ten rounds that take turns."""
    cells: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        splits = {n: corpus(Path(folder), n) for n in TOKENS}
        for _ in range(10):
            for ranks in RANKS:
                cells.setdefault(f"ranks {ranks}", []).append(cost(splits[10**9], ranks))
            for n in TOKENS:
                cells.setdefault(f"tokens {n}", []).append(cost(splits[n], 64))
    best = {name: {key: min(r[key] for r in rounds) for key in rounds[0]} for name, rounds in cells.items()}
    return {"machine": f"{platform.machine()}, Python {platform.python_version()}", "cells": best}


def tables(figures: Figures) -> str:
    """Both tables, with the ratio of the last row to the first."""
    cells = figures["cells"]
    out = []
    for what, head in (("ranks", "ranks, 10⁹ tokens"), ("tokens", "tokens, 64 ranks")):
        rows = {name.split()[1]: cell for name, cell in cells.items() if name.startswith(what)}
        out += [f"| {head} | ms a batch | MB at most | ms of the first batch |", "|--:|--:|--:|--:|"]
        out += [f"| {int(n):,} | {c['ms']:.3f} | {c['peak_mb']:.2f} | {c['first_ms']:.2f} |" for n, c in rows.items()]
        few, *_, many = rows.values()
        out += [f"| last over first | {many['ms'] / few['ms']:.2f} | {many['peak_mb'] / few['peak_mb']:.2f} | |", ""]
    return "\n".join(out).rstrip()


def page(text: str, figures: Figures) -> str:
    """The page with the tables of ``figures`` between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(figures)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the figures and renew docs/scale.md")
    parser.add_argument("--render", action="store_true", help="renew docs/scale.md from the kept figures")
    asked = parser.parse_args()
    figures = json.loads(FIGURES.read_text()) if asked.render else measured()
    if asked.write:
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    if asked.write or asked.render:
        PAGE.write_text(page(PAGE.read_text(encoding="utf8"), figures), encoding="utf8")
    print(tables(figures))
