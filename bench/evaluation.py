"""The default run, and the same cut short, under every evaluation: the table of docs/evaluation.md.

``components train``, ``components train trainer.max_steps=100`` and ``components train trainer.max_steps=1``, then
``python bench/evaluation.py RUN [RUN ...] --write``: measures them, keeps every figure in docs/evaluation.json and puts the table into
docs/evaluation.md; without ``--write`` prints it. ``--write --keep`` goes on with what was kept; ``--render`` makes the table again from what was kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line has it: threads that wait take no core from others

DOCS = Path(__file__).parent.parent / "docs"
FIGURES, PAGE = DOCS / "evaluation.json", DOCS / "evaluation.md"
SHOT = {"name": "few_shot", "data": {"name": "language_id", "languages": ["de", "fr", "ja", "ru"]}, "k": 3}
CHOSEN: list[Any] = ["calibration", "cloze", "minimal_pairs", "parse_rate", "matching", SHOT]
BEGIN, END = "<!-- bench/evaluation.py -->\n", "<!-- end -->\n"


def measure(run: str) -> dict[str, Any]:
    """A run's figures, with the steps that it was trained for."""
    import components

    loaded = components.load(run)
    found = components.evaluate(run, evaluations=CHOSEN)
    return {"steps": loaded.config["trainer"]["max_steps"], "recipe": loaded.config["recipe"], **found}


def table(runs: list[dict[str, Any]]) -> str:
    """Figures in rows, runs in columns, each with its standard error."""
    said = [f"{r['steps']:,} step{'s' * (r['steps'] != 1)}" for r in runs]
    lines = [f"| | chance | {' | '.join(said)} |", f"|---|--:|{'--:|' * len(runs)}"]
    lines.append(f"| bits per byte | | {' | '.join(format(r['bits_per_byte'], '.3f') for r in runs)} |")
    for name, figures in runs[0]["evaluations"].items():
        for figure, first in figures.items():
            chance = "" if first["chance"] is None else f"{first['chance']:.4g}"
            cells = [cell(r["evaluations"][name].get(figure)) for r in runs]
            lines.append(f"| {name.replace('_', ' ')}: {figure.replace('_', ' ')} | {chance} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return ""
    return f"{figure['value']:.3f}" + ("" if figure["error"] is None else f" ± {figure['error']:.3f}")


def page(text: str, runs: list[dict[str, Any]]) -> str:
    """``text`` with the table between its two marks."""
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    one = runs[-1]
    counted = f"{one['documents']:,.0f} held-out documents of recipe `{one['recipe']}`, {one['targets']:,.0f} tokens."
    return f"{before}{BEGIN}\n{counted}\n\n{table(runs)}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", action="store_true", help="add to what is kept, or renew it, run by run")
    parser.add_argument("--render", action="store_true")
    args = parser.parse_args()
    runs = json.loads(FIGURES.read_text(encoding="utf8")) if args.render or (args.keep and FIGURES.exists()) else []
    if not args.runs and not args.render:
        sys.exit("name runs, or --render")
    for run in args.runs:
        one = measure(run)
        runs = sorted([*(r for r in runs if r["steps"] != one["steps"]), one], key=lambda r: r["steps"])
        if args.write:
            FIGURES.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf8")
        print(f"{run}: measured", file=sys.stderr, flush=True)
    if args.write or args.render:
        PAGE.write_text(page(PAGE.read_text(encoding="utf8"), runs), encoding="utf8")
    print(table(runs))


if __name__ == "__main__":
    main()
