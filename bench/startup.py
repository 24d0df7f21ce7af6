"""Where the time goes from the shell to the first step of ``components train``: phases, and imports by package.

``python bench/startup.py [--rounds 5] [--against PATH] [--mb 10] [--write]``. The default recipe, whose corpus is in the cache, and a text of ``--mb``
megabytes that has been prepared before. Each round starts a process for each; ``--against`` names the ``src`` of another checkout, which takes turns with
this one. Two clocks: the wall's, which means something while nothing else runs, and seconds of a core (of this process, its system calls too).
The phases are those of the process itself: what a function of ours takes, less what is imported meanwhile. ``--write`` puts the tables into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import section

HEAD = "## From the shell to the first step"
HERE = Path(__file__).parent.parent / "src"
PHASES = {  # phase: functions of ours that are it
    "compose": ["components.training.run._compose_anew"],
    "corpus": ["components.training.planning.corpus_of", "components.training.planning.data_of"],
    "build": [
        "components.training.planning.task_of",
        "components.training.task._training.Training.new_model",
        "components.training.task._training.Training.place",
        "components.training.task._training.Training.configure_optimizers",
    ],
    "trainer": ["components.training.planning.make_trainer", "components.training.experiment.make_trainer"],
    "first step": ["components.training.task._training.Training.training_step"],
}
MANY = 8  # packages that have a row of their own


class Clock:
    """Seconds (of a core, by the wall) of whatever is on top of a stack."""

    def __init__(self, began: float) -> None:
        self.spent: dict[str, list[float]] = {}
        self.stack = ["interpreter"]
        self.last = [0.0, began]

    def turn(self) -> None:
        now = [time.process_time(), time.time()]
        held = self.spent.setdefault(self.stack[-1], [0.0, 0.0])
        for i in range(2):
            held[i] += now[i] - self.last[i]
        self.last = now

    @contextmanager
    def within(self, name: str):
        self.turn()
        self.stack.append(name)
        try:
            yield
        finally:
            self.turn()
            self.stack.pop()

    def wrap(self, place: str, name: str) -> None:
        owner, _, last = place.rpartition(".")
        try:
            held: Any = import_module(owner)
        except ModuleNotFoundError:  # a method
            module, _, kind = owner.rpartition(".")
            held = getattr(import_module(module), kind)
        real = getattr(held, last)

        def timed(*args: Any, **options: Any) -> Any:
            with self.within(name):
                return real(*args, **options)

        setattr(held, last, timed)


def watch_imports(clock: Clock, wanted: str, then: Callable[[], None]) -> None:
    """Each module that is imported from now on counts for its package, less those that it imports itself; ``then`` once ``wanted`` is there."""
    machinery: Any = sys.modules["_frozen_importlib"]
    real: Callable[..., Any] = machinery._find_and_load

    def timed(name: str, *rest: Any) -> Any:
        with clock.within(f"import {name.partition('.')[0]}"):
            made = real(name, *rest)
        if name == wanted and waiting:
            waiting.pop()()
        return made

    waiting = [then]
    machinery._find_and_load = timed


def start(began: float, overrides: list[str]) -> None:
    """A worker: the command as it is, until its first optimizer step has ended."""
    clock = Clock(began)
    clock.turn()
    clock.stack = ["the rest"]

    def arm() -> None:
        for name, places in PHASES.items():
            for place in places:
                clock.wrap(place, name)
        training = import_module("components.training.task._training").Training
        step = training.optimizer_step

        def first(*args: Any, **options: Any) -> None:
            with clock.within("first step"):
                step(*args, **options)
            clock.turn()
            print("spent", json.dumps({"spent": clock.spent, "modules": len(sys.modules)}), flush=True)
            os._exit(0)

        training.optimizer_step = first  # this process ends there

    watch_imports(clock, "components.training.experiment", arm)
    from components.cli import main

    main(["train", *overrides])


def once(source: Path, overrides: list[str], folder: Path) -> dict[str, Any]:
    cache = folder / f"cache of {source.parent.name}"  # each checkout has its own: it holds what the other one's sources say
    env = {**os.environ, "PYTHONPATH": str(source), "COMPONENTS_CACHE": str(cache)}
    command = [sys.executable, __file__, "--worker", str(time.time()), *overrides]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    line = next((x for x in done.stdout.splitlines() if x.startswith("spent ")), None)
    if line is None:
        raise SystemExit(done.stderr[-2000:] or done.stdout[-2000:])
    return json.loads(line.removeprefix("spent "))


def write(folder: Path, megabytes: int) -> list[str]:
    """The overrides of a run over so much made-up text."""
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlucmfwypvbgkqjxz", k=draw.randrange(2, 10))) for _ in range(30_000)]
    file, size = folder / "text.jsonl", 0
    with file.open("w", encoding="utf8") as f:
        while size < megabytes * 10**6:
            size += f.write(json.dumps({"text": " ".join(draw.choices(words, k=draw.randrange(20, 600)))}) + "\n")
    return ["data=text", f"data.path={file}"]


Runs = dict[str, list[dict[str, Any]]]


def median(runs: list[dict[str, Any]], chosen: Callable[[str], bool], clock: int) -> float:
    return statistics.median(sum(v[clock] for k, v in r["spent"].items() if chosen(k)) for r in runs)


def imported(name: str) -> bool:
    return name.startswith("import ")


def table(of: Runs) -> str:
    names = list(of)
    rows = [("all", lambda _: True), ("all but imports", lambda k: not imported(k)), ("imports", imported)]
    rows += [(n, lambda k, n=n: k == n) for n in ("interpreter", *PHASES, "the rest")]
    first = of[names[0]]
    packages = {k for r in first for k in r["spent"] if imported(k)}
    largest = sorted(packages, key=lambda p: -median(first, lambda k: k == p, 0))[:MANY]
    rows += [(f"{p} itself", lambda k, p=p: k == p) for p in largest]
    lines = ["| seconds of a core (of the clock) | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for name, chosen in rows:
        cells = [f"{median(runs, chosen, 0):.2f} ({median(runs, chosen, 1):.2f})" for runs in of.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    modules = [f"{statistics.median(r['modules'] for r in runs):.0f}" for runs in of.values()]
    lines.append(f"| modules | {' | '.join(modules)} |")
    return "\n".join(lines)


def measure(rounds: int, against: Path | None, megabytes: int) -> Runs:
    sources = {"": HERE} | ({", before": against.resolve()} if against else {})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        kinds = {"default recipe": list[str](), f"text of {megabytes} MB": write(folder, megabytes)}
        of: Runs = {f"{kind}{when}": [] for kind in kinds for when in sources}
        for kind, overrides in kinds.items():
            for source in sources.values():
                once(source, overrides, folder)  # its corpus is made
            for _ in range(rounds):
                for when, source in sources.items():
                    of[kind + when].append(once(source, overrides, folder))
    return of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="the src of another checkout")
    parser.add_argument("--mb", type=int, default=10)
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    asked = parser.parse_args()
    if asked.worker:
        start(float(asked.worker[0]), asked.worker[1:])
        return
    text = table(measure(asked.rounds, asked.against, asked.mb))
    print(text)
    if asked.write:
        load = f"{os.getloadavg()[0]:.1f} processes ran or waited at its end" if hasattr(os, "getloadavg") else ""
        told = f"Made by `python bench/startup.py --write` on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores; {load}. Medians of {asked.rounds}.\n"
        told += "Both corpora were in the cache. A phase is without what is imported meanwhile; a package without those that it imports itself."
        section.put("startup", f"{HEAD}\n\n{told}\n\n{text}")


if __name__ == "__main__":
    main()
