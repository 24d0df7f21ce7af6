"""Megabytes that a second of processor time encodes: the fastest call of ``tokenizers`` beside what a corpus is encoded by. Identical ids, or no figure.

``python bench/encode.py [FILE] [--vocab-size 1024] [--write]``; without a file, the sources of this package. ``--write`` puts the figures into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"  # processor time is compared, and one thread has no waiting

import section

from components import build
from components.corpus.encoders import encoder_of

ROUNDS = 7
HEAD = "## Encoding a corpus"


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--vocab-size", type=int, default=1024)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    sources = sorted((Path(__file__).parent.parent / "src").rglob("*.py"))
    text = args.file.read_text(encoding="utf8") if args.file else "".join(f.read_text(encoding="utf8") for f in sources)
    texts = [text[i : i + 2000] for i in range(0, len(text), 2000)]
    tokenizer = build("tokenizer", "bpe", vocab_size=args.vocab_size)
    tokenizer.train([text])
    encode = encoder_of(tokenizer)
    ways: dict[str, Callable[[], Sequence[Sequence[int]]]] = {
        "encode_batch": lambda: [e.ids for e in tokenizer.core.encode_batch(texts, add_special_tokens=False)],
        "encode_batch_fast": lambda: [e.ids for e in tokenizer.core.encode_batch_fast(texts, add_special_tokens=False)],
        "ours": lambda: encode(texts),
    }
    ids = {name: [list(row) for row in way()] for name, way in ways.items()}
    if any(found != ids["encode_batch"] for found in ids.values()):
        raise SystemExit("the ids differ: nothing is timed")
    size, rows = len(text.encode()) / 1e6, []
    for _ in range(ROUNDS):
        rows.append({name: size / seconds(way) for name, way in ways.items()})
    ratios = [row["ours"] / max(v for n, v in row.items() if n != "ours") for row in rows]
    lines = [f"| {name} | {statistics.median(row[name] for row in rows):.1f} |" for name in ways]
    versions = ", ".join(f"{name} {version(name)}" for name in ("tokenizers", "tiktoken") if find_spec(name))
    made = "\n".join(
        [
            *(HEAD, ""),
            f"Made by `python bench/encode.py --write` on {time.strftime('%Y-%m-%d')}: {size:.1f} MB of Python by a byte-level BPE of",
            f"{args.vocab_size} tokens, one thread, {versions}. The ids are the same.",
            "",
            "| call | MB a second of processor time |",
            "|---|--:|",
            *lines,
            "",
            f"Ours over the fastest call of `tokenizers`: **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}).",
        ]
    )
    print(made)
    if args.write:
        section.put("encode", made)


if __name__ == "__main__":
    main()
