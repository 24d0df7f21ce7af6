"""Measure a run or a checkpoint on its own or other data: loss, perplexity, bits per byte, the task's metrics, and evaluations.

  components evaluate auto evaluation=[calibration,cloze,minimal_pairs,parse_rate]
  components evaluate auto 'evaluation=[{name: few_shot, data: language_id, k: 8}]'
  components evaluate auto evaluation=cloze evaluation.cloze.count=500 --json
  components evaluate auto harness=[arc_easy,hellaswag] harness_limit=100

components list evaluation lists them. Each share comes with its standard error, and with the result of guessing. harness names tasks of EleutherAI's
lm-eval, which have their own data; harness_folder a folder of your own ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from components.core import allocator, terminal
from components.core.errors import UserError

VERB = {
    "sentence": "measure a run or a checkpoint on its data or on other data",
    "group": "use",
    "takes": ("run", "overrides"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, or a .ckpt file")
    parser.add_argument(
        "overrides", nargs="*", metavar="override", help="data=text data.path=other.txt, evaluation=[cloze,few_shot]"
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test", "train", "all"),
        default="validation",
        help="which part of the data, other data too; all: every document (default validation)",
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1, mps (default cpu)")
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    if args.run is None:
        raise UserError("components evaluate", "no run is named", "components evaluate RUN; components runs lists them")

    allocator.settle()
    from components.training.run import evaluate

    figures = evaluate(args.run, args.overrides, split=args.split, device=args.device)
    if args.json:
        terminal.show(json.dumps(figures))
        return 0
    evaluations, harness = figures.pop("evaluations", {}), figures.pop("harness", {})
    if figures:
        _show_split(args.split, figures)
    found = {name.replace("_", " "): {n.replace("_", " "): f for n, f in own.items()} for name, own in evaluations.items()}
    found |= harness  # lm-eval's names stay as they are quoted
    wide = max((len(name) for own in found.values() for name in own), default=0)
    for name, own in found.items():
        terminal.show(name)
        for figure, f in own.items():
            terminal.show(f"  {figure:<{max(wide, 15)}} {said(f)}".rstrip())
    return 0


def _show_split(split: str, figures: dict[str, float]) -> None:
    tokens = "perplexity" in figures
    read = f"{figures.pop('documents'):,.0f} of the data's {figures.pop('documents_in_all'):,.0f} documents"
    terminal.show(f"{split}: {read}, {figures.pop('targets'):,.0f} {'tokens' if tokens else 'answers'}")
    terminal.show(f"  loss            {figures.pop('loss'):.4f}{' nats per token' if tokens else ''}")
    forms = {"perplexity": ".2f", "bits_per_byte": ".4f"}
    for name, value in figures.items():
        terminal.show(f"  {name.replace('_', ' '):<15} {value:{forms.get(name, '.4g')}}")


def said(figure: Mapping[str, float | None]) -> str:
    """``0.4120 ± 0.0350  of 200, chance 0.2``"""
    error = " " * 9 if figure["error"] is None else f" ± {figure['error']:.4f}"
    chance = "" if figure["chance"] is None else f", chance {figure['chance']:.4g}"
    return f"{figure['value']:.4f}{error}  of {figure['count']:,}{chance}"
