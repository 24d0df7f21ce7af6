"""Tokens a second of a preparation over 1, 2, ... workers, and the memory of a worker; by default on 300 MB of made-up text.

``python bench/prepare.py [--mb 300] [--workers 1 2] [--tokenizer bpe]``. The text is drawn from a fixed seed and has 5 % duplicates. Each worker has one
core (and one thread of the tokenizer's library), so one against two workers is one core against two. Run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import tempfile
import time
from itertools import islice
from pathlib import Path

from components import build
from components.corpus import prepare
from components.corpus.work import Asked, asking


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


def measured(file: Path, tokenizer: str, workers: int, cache: Path) -> tuple[str, int, dict[str, float]]:
    """(hash, tokens, seconds of each step)."""
    began, seen = time.perf_counter(), {}

    def progress(what: str, done: int, total: int | None) -> None:  # noqa: ARG001
        seen[what] = time.perf_counter() - began

    with asking(Asked(workers)):
        corpus = prepare(
            build("data", "text", path=str(file)),
            build("tokenizer", "pretrained", path=tokenizer),
            cache=cache,
            progress=progress,
        )
    seen["all"] = time.perf_counter() - began
    return corpus.hash, sum(len(s.tokens) for s in (corpus.train, corpus.validation, corpus.test)), seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=300)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokenizer", default="bpe")
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many counts")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = write(folder, asked.mb * 10**6)
        tokenizer = trained(file, asked.tokenizer, folder / "tokenizer")
        print(f"{asked.mb} MB of jsonl, tokenizer {asked.tokenizer}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        best: dict[int, float] = {}
        hashes = set()
        for _ in range(asked.rounds):
            for workers in asked.workers:
                made, tokens, seconds = measured(file, tokenizer, workers, folder / "cache")
                shutil.rmtree(folder / "cache")
                hashes.add(made)
                best[workers] = min(best.get(workers, 1e9), seconds["all"])
                steps = ", ".join(f"{what} until {s:.1f} s" for what, s in seconds.items() if what != "all")
                print(
                    f"{workers} workers: {tokens:,} tokens in {seconds['all']:.1f} s, {tokens / seconds['all']:,.0f} a second ({steps})"
                )
        first = asked.workers[0]
        for workers in asked.workers[1:]:
            print(f"{workers} workers against {first}: {best[first] / best[workers]:.2f} times as fast")
        assert len(hashes) == 1, "the same corpus, whatever the number of workers"
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"memory: a worker at most {most / 1e6:.0f} MB, the process that puts together {own / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
