"""Composition costs nothing: the composed shape (a) beside transformers, litgpt and x-transformers; writes docs/performance.md.

``python bench/peers.py install`` makes an environment for each library, since their requirements exclude each other; what has none is left out. Then
``python bench/compare.py [--rounds 7] [--write] [--envs FOLDER]``. Both sides run in the library's environment. For each library: our parts
compute its function with its weights; losses before the first step must agree (1e-4 in fp32, 1 % in bf16) and greedy texts be equal,
or nothing is timed. Then the two processes take turns; medians of the rounds and of the round-by-round ratios are reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

import environments
import section
import torch

HERE = Path(__file__).parent
NAMES = ("transformers", "litgpt", "x-transformers")
TOKENS = 16 * 256


class Worker:
    def __init__(self, python: Path, *arguments: str) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")))}
        command = [str(python), str(HERE / "worker.py"), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, stderr=subprocess.DEVNULL
        )

    def ask(self, line: str) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"a worker died: {self.process.args}; run it by hand to see why")
        return json.loads(answer)

    def end(self) -> None:
        self.process.communicate("end\n")


def compare(python: Path, name: str, precision: str, rounds: int, threads: str) -> list[dict]:
    """Rows for training, and in fp32 for generation too."""
    sides = {side: Worker(python, name, side, precision, threads) for side in ("theirs", "ours")}
    losses = {side: w.ask("check")["loss"] for side, w in sides.items()}
    tolerance = 1e-4 if precision == "fp32" else 1e-2
    if abs(losses["ours"] / losses["theirs"] - 1) > tolerance:
        raise SystemExit(f"{name} {precision}: losses differ, {losses}: not the same function, nothing timed")
    texts = {}
    if precision == "fp32":
        texts = {side: w.ask("generate 128")["ids"] for side, w in sides.items()}
        if texts["ours"] != texts["theirs"]:
            raise SystemExit(f"{name}: greedy texts differ, nothing timed")
    rows = []
    for what, line in (("train", "train 2"), *((("generate", "generate 128"),) if precision == "fp32" else ())):
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds + 1):
            for side, w in sides.items():
                times[side].append(w.ask(line)["seconds"])
        counted = {side: t[1:] for side, t in times.items()}  # the first round warms up
        amount = TOKENS if what == "train" else 1
        ratio = statistics.median(a / b for a, b in zip(counted["theirs"], counted["ours"], strict=True))
        rows.append(
            {"what": what, "precision": precision, "peer": name, "ratio": ratio}
            | {s: amount / statistics.median(t) for s, t in counted.items()}
        )
    memory = {side: w.ask("memory") for side, w in sides.items()}
    for w in sides.values():
        w.end()
    used = {side: m["peak_mb"] - m["before_mb"] for side, m in memory.items()}
    rows.append({"what": "memory", "precision": precision, "peer": name, "ratio": used["ours"] / used["theirs"], **used})
    return rows


def table(rows: list[dict], threads: str, pythons: dict[str, Path]) -> str:
    """The section of the page: one row per measurement."""
    versions = {"torch": torch.__version__}
    for name, python in pythons.items():
        versions |= environments.versions(python, (name,))
    lines = ["Made by `python bench/compare.py --write`; do not edit.", ""]
    lines += [
        f"{platform.processor() or platform.machine()}, {threads} threads, Python {platform.python_version()}, "
        + ", ".join(f"{n} {v}" for n, v in versions.items())
        + ".",
        "",
    ]
    lines += [
        "Shape: 6 layers, 6 heads, d_model 384, context 256, vocabulary 65; training at batch 16 with fused AdamW, greedy generation at batch 1,"
    ]
    lines += [
        "32 tokens of prompt and 128 new. Same weights on both sides: losses and greedy texts were equal before anything was timed."
    ]
    lines += [
        "The two processes took turns; medians. Memory is the peak of the process less what it held before its first step.",
        "",
    ]
    lines += ["| what | precision | library | theirs | ours | ours / theirs |", "|---|---|---|--:|--:|--:|"]
    units = {"train": "tok/s", "generate": "tok/s", "memory": "MB"}
    for r in sorted(rows, key=lambda r: (r["what"], r["precision"], r["peer"])):
        lines.append(
            f"| {r['what']} | {r['precision']} | {r['peer']} | {r['theirs']:.0f} {units[r['what']]} | {r['ours']:.0f} {units[r['what']]} | {r['ratio']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    parser.add_argument(
        "--envs", type=Path, default=environments.INTO, help="where bench/peers.py install made the environments"
    )
    args = parser.parse_args()
    rows = []
    there = {name: python for name in NAMES if (python := environments.python_of(name, args.envs.absolute())) is not None}
    missing = [n for n in ((args.only,) if args.only else NAMES) if n not in there]
    if missing and (args.write or args.only or not there):
        raise SystemExit(f"no environment in {args.envs}: {', '.join(missing)}; python bench/peers.py install makes them")
    if args.write and (args.only or args.precision):
        raise SystemExit("--write renews the whole table: leave --only and --precision out")
    for name in (args.only,) if args.only else there:
        for precision in (args.precision,) if args.precision else ("fp32", "bf16"):
            rows += compare(there[name], name, precision, args.rounds, args.threads)
            print(
                *(
                    f"{r['peer']:15} {r['precision']} {r['what']:9} theirs {r['theirs']:8.1f} ours {r['ours']:8.1f} ratio {r['ratio']:.3f}"
                    for r in rows[-3:]
                ),
                sep="\n",
                flush=True,
            )
    found = table(rows, args.threads, there)
    print(found)
    if args.write:
        section.put("compare", found)


if __name__ == "__main__":
    main()
