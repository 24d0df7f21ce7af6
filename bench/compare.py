"""Composition costs nothing: composed models beside transformers, litgpt, x-transformers and nanoGPT; writes docs/performance.md.

``python bench/peers.py install`` makes an environment for each library, since their requirements exclude each other; what has none is left out. Then
``python bench/compare.py [--rounds 7] [--write] [--envs FOLDER]``. Both sides run in the library's environment. For each library: our parts
compute its function with its weights; losses before the first step must agree (1e-4 in fp32, 1 % in bf16) and greedy texts be equal,
or nothing is timed. Then the processes take turns; medians of the rounds and of the round-by-round ratios are reported. Ours keeps what a step
frees, as ``components train`` does; a third process gives theirs the same. (nanoGPT is bench/nanogpt.py, its model written anew.)
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import environments
import section
import torch

HERE = Path(__file__).parent
NAMES = ("transformers", "litgpt", "x-transformers", "nanoGPT")
# shape, library, precision
MEASURED = [("a", name, precision) for name in NAMES for precision in ("fp32", "bf16")]
MEASURED += [("b", "nanoGPT", "bf16"), ("b", "transformers", "bf16"), ("c", "litgpt", "bf16"), ("c", "transformers", "bf16")]
SIDES = ("theirs", "kept", "ours")
TOKENS = {"a": 16 * 256, "b": 2 * 512, "c": 4 * 256}  # of a step


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


def compare(python: Path, shape: str, name: str, precision: str, rounds: int, threads: str) -> list[dict]:
    """Rows for training and memory, and for (a) in fp32 for generation too."""
    sides = {side: Worker(python, shape, name, side, precision, threads) for side in SIDES}
    losses = {side: w.ask("check") for side, w in sides.items()}
    for dtype in {"fp32", precision}:
        if abs(losses["ours"][dtype] / losses["theirs"][dtype] - 1) > (1e-4 if dtype == "fp32" else 1e-2):
            raise SystemExit(f"{shape} {name} {dtype}: losses differ, {losses}: not the same function, nothing timed")
    works = {"train": "train 2"}
    if shape == "a" and precision == "fp32":
        works["generate"] = "generate 128"
        texts = {side: w.ask("generate 128")["ids"] for side, w in sides.items()}
        if texts["ours"] != texts["theirs"]:
            raise SystemExit(f"{name}: greedy texts differ, nothing timed")
    rows = []
    for what, line in works.items():
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds + 1):
            for side, w in sides.items():
                times[side].append(w.ask(line)["seconds"])
        counted = {side: t[1:] for side, t in times.items()}  # the first round warms up
        amount = TOKENS[shape] if what == "train" else 1
        ratios = {side: [a / b for a, b in zip(counted[side], counted["ours"], strict=True)] for side in ("theirs", "kept")}
        rows.append(
            {"what": what, "ratios": ratios["theirs"], "kept_ratio": statistics.median(ratios["kept"])}
            | {s: amount / statistics.median(t) for s, t in counted.items()}
        )
    memory = {side: w.ask("memory") for side, w in sides.items()}
    for w in sides.values():
        w.end()
    used = {side: m["peak_mb"] - m["before_mb"] for side, m in memory.items()}
    rows.append(
        {"what": "memory", "ratios": [used["ours"] / used["theirs"]], "kept_ratio": used["ours"] / used["kept"], **used}
    )
    return [{"shape": shape, "precision": precision, "peer": name, "ratio": statistics.median(r["ratios"]), **r} for r in rows]


def peak(threads: str) -> float:
    """FLOP a second of a large product in bf16."""
    code = (
        "import statistics, time, torch\n"
        "x = torch.randn(2048, 2048).bfloat16(); took = []\n"
        "for _ in range(40):\n"
        "    began = time.perf_counter(); x @ x; took.append(time.perf_counter() - began)\n"
        "print(2 * 2048**3 / statistics.median(took))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": threads}
    return float(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout)


def of_peak(rows: list[dict], threads: str) -> str:
    """What training (a) in bf16 is of that: 6 FLOP a token for each number of a matrix, and attention's up to the diagonal."""
    speeds = [r["ours"] for r in rows if (r["shape"], r["what"], r["precision"]) == ("a", "train", "bf16")]
    if not speeds:
        return ""
    layers, width, length, vocabulary = 6, 384, 256, 65
    each = 6 * (layers * 12 * width**2 + vocabulary * width) + 6 * layers * length * width
    most, done = peak(threads), each * statistics.median(speeds)
    return f"A product of 2,048 x 2,048 in bf16 runs at {most / 1e9:.0f} GFLOP/s here, and training (a) in bf16 at {done / 1e9:.0f}: **{done / most:.0%}** of that."


def table(rows: list[dict], threads: str, pythons: dict[str, Path]) -> str:
    """The section of the page: one row per measurement."""
    versions = {"torch": torch.__version__}
    for name, python in pythons.items():
        versions |= environments.versions(python, (name,))  # nanoGPT has none
    lines = ["Made by `python bench/compare.py --write`; do not edit.", ""]
    lines += [
        f"{datetime.date.today()}, {platform.processor() or platform.machine()}, {threads} threads, Python {platform.python_version()}, "
        + ", ".join(f"{n} {v}" for n, v in versions.items())
        + ".",
        "",
    ]
    lines += [
        "(a): GPT-2 with 6 layers, 6 heads, d_model 384, context 256, vocabulary 65, batch 16. (b): 12 layers, 12 heads, d_model 768, context 512, vocabulary",
        "50,304, batch 2. (c): Llama of the size of (a) with two heads of keys, vocabulary 32,000, batch 4. Fused AdamW; greedy generation at batch 1, 32 tokens",
        "of prompt and 128 new. Same weights on both sides: losses and greedy texts were equal before anything was timed. The processes took turns; medians,",
        "and the lowest and highest ratio of a round. Memory is the peak of the process less what it held before its first step. Ours ran as `components train`",
        "does, in a process that keeps what a step frees; the last column is ours over theirs in such a process too.",
        "",
        "| shape | what | precision | library | theirs | ours | ours / theirs | spread | theirs so too |",
        "|---|---|---|---|--:|--:|--:|---|--:|",
    ]
    units = {"train": "tok/s", "generate": "tok/s", "memory": "MB"}
    for r in sorted(rows, key=lambda r: (r["shape"], r["what"], r["precision"], r["peer"])):
        unit, spread = units[r["what"]], f"{min(r['ratios']):.2f}–{max(r['ratios']):.2f}" if len(r["ratios"]) > 1 else ""
        lines.append(
            f"| ({r['shape']}) | {r['what']} | {r['precision']} | {r['peer']} | {r['theirs']:.0f} {unit} | {r['ours']:.0f} {unit} "
            f"| {r['ratio']:.2f} | {spread} | {r['kept_ratio']:.2f} |"
        )
    if said := of_peak(rows, threads):
        lines += ["", said]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--shape", choices=("a", "b", "c"))
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    parser.add_argument(
        "--envs", type=Path, default=environments.INTO, help="where bench/peers.py install made the environments"
    )
    args = parser.parse_args()
    rows: list[dict] = []
    there = {"nanoGPT": Path(sys.executable)}  # which needs torch alone
    there |= {n: python for n in NAMES if (python := environments.python_of(n, args.envs.absolute())) is not None}
    missing = [n for n in ((args.only,) if args.only else NAMES) if n not in there]
    if missing and (args.write or args.only):
        raise SystemExit(f"no environment in {args.envs}: {', '.join(missing)}; python bench/peers.py install makes them")
    if args.write and (args.only or args.precision or args.shape):
        raise SystemExit("--write renews the whole table: leave --only, --shape and --precision out")
    for shape, name, precision in MEASURED:
        asked = zip((shape, name, precision), (args.shape, args.only, args.precision), strict=True)
        if name not in there or any(wanted not in (None, one) for one, wanted in asked):
            continue
        found = compare(there[name], shape, name, precision, args.rounds, args.threads)
        for r in found:
            print(
                f"({shape}) {name:15} {precision} {r['what']:9} theirs {r['theirs']:8.1f} ours {r['ours']:8.1f} "
                f"ratio {r['ratio']:.3f} theirs so too {r['kept_ratio']:.3f}",
                flush=True,
            )
        rows += found
    if not rows:
        raise SystemExit("nothing of that kind is measured")
    page = table(rows, args.threads, there)
    print(page)
    if args.write:
        section.put("compare", page)


if __name__ == "__main__":
    main()
