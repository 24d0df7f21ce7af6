"""What it brings that memory freed by a training step stays for the next one: shapes (a) and (c) of docs/performance.md, with and without.

``python bench/allocator.py [--shapes a c] [--rounds 3] [--steps 5] [--write]``. Each measurement has a process of its own with one thread, and both ways take
turns. Seconds of a core disturb each other least on a shared machine; page faults are counts. ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import section

HEAD = "## Memory that a step frees"
WAYS = ("given back", "kept")


@dataclass(frozen=True)
class Taken:
    """Of one process. ``seconds`` of a core and minor page ``faults`` of a step, the most memory in MB."""

    seconds: float
    faults: float
    memory: float


def taken(words: list[str], rows: int, vocab: int, steps: int, *, kept: bool) -> Taken:
    """In this process, which keeps what was chosen until it ends."""
    if kept:
        from components.core.allocator import settle

        settle()
    import profiling

    _, step = profiling.step_of(words, rows, vocab, "bf16")
    for _ in range(3):
        step()
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    for _ in range(steps):
        step()
    seconds, after = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF)
    return Taken(seconds / steps, (after.ru_minflt - before) / steps, after.ru_maxrss / 1024)


def measured(shape: str, way: str, steps: int) -> Taken:
    words = [sys.executable, __file__, "--shapes", shape, "--steps", str(steps), "--worker", way]
    done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True)
    return Taken(**json.loads(done.stdout))


def table(found: dict[str, list[tuple[Taken, Taken]]]) -> str:
    lines = [
        *(HEAD, ""),
        f"Made by `python bench/allocator.py --write` on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores; {os.getloadavg()[0]:.1f} processes ran or waited at "
        "its end.",
        "Medians of one thread's training steps in bf16; the ratio is round by round. Each pair: given back to the system, then kept.",
        "",
        "| shape | page faults a step | seconds of a core a step | ratio | spread | the most memory, MB |",
        "|---|--:|--:|--:|---|--:|",
    ]
    for shape, rounds in found.items():
        sides = [
            [statistics.median(getattr(pair[side], name) for pair in rounds) for side in (0, 1)]
            for name in ("faults", "seconds", "memory")
        ]
        ratios = [after.seconds / before.seconds for before, after in rounds]
        (f0, f1), (s0, s1), (m0, m1) = sides
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        lines.append(
            f"| ({shape}) | {f0:,.0f}, {f1:,.0f} | {s0:.2f}, {s1:.2f} | {statistics.median(ratios):.2f} | {spread} | {m0:,.0f}, {m1:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=("a", "b", "c"), default=["a", "c"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    asked = parser.parse_args()
    if asked.worker:
        import profiling

        print(json.dumps(asdict(taken(*profiling.SHAPES[asked.shapes[0]], asked.steps, kept=asked.worker == WAYS[1]))))
        return
    found = {s: [tuple(measured(s, way, asked.steps) for way in WAYS) for _ in range(asked.rounds)] for s in asked.shapes}
    text = table(found)  # type: ignore[arg-type]  # there are two ways
    print(text)
    if asked.write:
        section.put("allocator", text)


if __name__ == "__main__":
    main()
