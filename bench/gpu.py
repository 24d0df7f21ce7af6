"""What holds on a GPU, and how fast: writes docs/gpu.md. ``make gpu``, or ``python bench/gpu.py`` with ``src`` on PYTHONPATH.

Without a CUDA device it says so and ends with 0. Each section runs in processes of its own with a limit of its time, and writes down each line as it is
measured, so that one that fails, hangs or kills its process takes no other with it. ``--device cpu --small --page FILE`` tries the script itself, elsewhere.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE, FIGURES = ROOT / "docs" / "gpu.md", ROOT / "docs" / "gpu.json"
HEAD = """# On a GPU

Made by `make gpu`; do not edit. It runs where there is a CUDA device, in at most 8 minutes, with what is installed and no network.
"""
NOBODY = """
**Nobody has run this yet.** The project's own tests have no GPU: no kernel, no speed and no memory was ever measured on one. What is tested without one:
that the script runs on a CPU (`tests/bench/test_gpu_page.py`; the lines that ask CUDA itself do not run there), and that no part puts a tensor on the CPU
when its model is somewhere else (`tests/check/test_another_device.py`, on tensors that have a device and no values; three properties of each part).
"""


@dataclass(frozen=True)
class Section:
    """``seconds``: its limit. ``workers``: processes that share its lines."""

    title: str
    text: str
    seconds: int
    columns: tuple[str, ...]
    workers: int = 1


SECTIONS = {
    "parts": Section(
        "The battery of parts",
        "Every property of `components check` that does not count work or compile, with the model on the device.",
        130,
        ("properties",),
        6,
    ),
    "kernels": Section(
        "Kernels against their references",
        "The largest error of outputs and of gradients, over the largest value of the formula in fp64. "
        "varlen is torch's own, which the library does not use.",
        70,
        ("output", "gradient", "allowed"),
    ),
    "models": Section(
        "Twelve models against the CPU",
        "The same weights and batches in fp32: the largest relative difference of the losses of 5 steps of AdamW, and 2 x 16 tokens of greedy decoding in fp64.",
        80,
        ("losses differ by", "decoded"),
    ),
    "graphs": Section(
        "Decoding, compiled with CUDA graphs",
        "`torch.compile(mode='reduce-overhead')` with `cache=static`, a token at a time, batch 1; graphs that torch gave up are counted.",
        60,
        ("eager", "compiled", "given up"),
    ),
    "fsdp2": Section(
        "fsdp2 on one device",
        "A run of 5 steps under `trainer.strategy=fsdp2` and without: the difference of the validation losses.",
        60,
        ("loss", "difference"),
    ),
    "speed": Section(
        "Speed",
        "GPT-2 with 124 M parameters, context 1024, batch 8, fused AdamW; greedy decoding at batch 1. Same weights; losses are equal before anything is timed. "
        "nanoGPT is a small model written after it, not its code; it keeps no cache.",
        60,
        ("theirs", "ours", "ours / theirs"),
    ),
}


@dataclass
class Ran:
    """What a section left. ``ended``: how, in words; empty where all is well."""

    seconds: float = 0.0
    ended: list[str] = field(default_factory=list)
    lines: list[dict[str, str]] = field(default_factory=list)


def run(name: str, device: str, small: bool) -> Ran:
    """One section, in its processes, to its end or to its limit."""
    section, found, begun = SECTIONS[name], Ran(), time.monotonic()
    workers = 1 if small else section.workers
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "bench"), os.environ.get("PYTHONPATH", "")))
    env = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for i in range(workers):
            script = str(ROOT / "bench" / "gpu_sections.py")
            command = [sys.executable, script, name, f"{folder}/{i}", device, str(int(small)), str(i), str(workers)]
            # to a file and not to a pipe: one that is full would stop a worker
            with open(f"{folder}/{i}.txt", "w") as said:
                started.append(subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=env, cwd=folder))
        for i, process in enumerate(started):
            try:
                code = process.wait(max(0.1, begun + section.seconds - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                found.ended.append(f"stopped after {section.seconds} s")
            else:
                last = Path(f"{folder}/{i}.txt").read_text(errors="replace").strip().splitlines()[-1:]
                if code:
                    found.ended.append(f"ended with code {code}: {' '.join(last)[:300]}")
            if (lines := Path(f"{folder}/{i}")).exists():
                # the last line of a process that was killed may be half of one
                whole = [line for line in lines.read_text().splitlines(keepends=True) if line.endswith("\n")]
                found.lines += [json.loads(line) for line in whole]
    found.seconds = time.monotonic() - begun
    found.ended = sorted(set(found.ended))
    found.lines.sort(key=lambda line: int(line["order"]))
    return found


def measured(device: str, small: bool, names: list[str]) -> dict[str, object]:
    begun = time.monotonic()
    sections = {}
    for name in names:
        print(f"{SECTIONS[name].title} ...", flush=True)
        sections[name] = asdict(run(name, device, small))
    return {
        "machine": machine(device),
        "trial": small or device == "cpu",
        "seconds": time.monotonic() - begun,
        "sections": sections,
    }


def machine(device: str) -> str:
    import torch

    place = platform.processor() or platform.machine()
    if device == "cuda":
        there = torch.cuda.get_device_properties(0)
        driver = f"CUDA {torch.version.cuda}, capability {there.major}.{there.minor}"
        place = f"{there.name}, {there.total_memory / 2**30:.0f} GiB, {driver}"
    packages = ("torch", "triton", "lightning", "transformers", "torchao")
    versions = [f"{name} {found}" for name in packages if (found := installed(name))]
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{today}: {place}, Python {platform.python_version()}, {', '.join(versions)}."


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def page(figures: dict | None) -> str:
    """The whole page; None: nobody has run it."""
    if figures is None:
        return HEAD + NOBODY
    out = [HEAD, figures["machine"], ""]
    if figures["trial"]:
        out += ["**A trial of the script, and no measurement:** little of everything, or no GPU.", ""]
    faults = [(n, line) for n, ran in figures["sections"].items() for line in ran["lines"] if line["fault"]]
    broken = [n for n, ran in figures["sections"].items() if ran["ended"]]
    out += [f"{figures['seconds']:.0f} s. {'Lines that do not hold: ' + str(len(faults)) if faults else 'All lines hold'}; "]
    out[-1] += f"sections that did not end well: {', '.join(broken) or 'none'}."
    for name, ran in figures["sections"].items():
        section = SECTIONS[name]
        out += ["", f"## {section.title}", "", section.text, ""]
        out += [
            f"**This section did not end well: {escape(words)}.** What it had measured by then:\n" for words in ran["ended"]
        ]
        if not ran["lines"]:
            out.append("Nothing was measured.")
            continue
        out += [f"| what | {' | '.join(section.columns)} | |", f"|---|{'--:|' * len(section.columns)}---|"]
        for line in ran["lines"]:
            cells = [line.get(column, "") for column in section.columns]
            state = f"**fails**: {escape(line['fault'])}" if line["fault"] else "holds"
            out.append(f"| {escape(line['what'])} | {' | '.join(map(escape, cells))} | {state} |")
    return "\n".join(out) + "\n"


def escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="little of everything: to try the script, not to measure")
    parser.add_argument("--page", type=Path, help="write the page there, and keep no figures")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="these sections; the page is printed"
    )
    parser.add_argument("--render", action="store_true", help="write docs/gpu.md from docs/gpu.json, or that nobody has run it")
    asked = parser.parse_args(words)
    if asked.render:
        PAGE.write_text(page(json.loads(FIGURES.read_text()) if FIGURES.exists() else None), encoding="utf8")
        return 0
    import torch

    if asked.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was run, and docs/gpu.md stays as it is")
        return 0
    figures = measured(asked.device, asked.small, asked.only)
    if asked.page is not None:
        asked.page.write_text(page(figures), encoding="utf8")
    elif asked.device == "cuda" and not asked.small and set(asked.only) == set(SECTIONS):
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
        PAGE.write_text(page(figures), encoding="utf8")
        print("docs/gpu.md")
    else:
        print(page(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
