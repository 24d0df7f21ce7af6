"""Measure a run or a checkpoint: loss, perplexity, bits per byte and the task's metrics on its own data or on other data."""

from __future__ import annotations

import argparse
import json

from components.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, or a .ckpt file")
    parser.add_argument("overrides", nargs="*", metavar="override", help="data=text data.path=other.txt")
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

    from components.run import evaluate

    figures = evaluate(args.run, args.overrides, split=args.split, device=args.device)
    if args.json:
        print(json.dumps(figures))
        return 0
    tokens = "perplexity" in figures
    read = f"{figures.pop('documents'):,.0f} of the data's {figures.pop('documents_in_all'):,.0f} documents"
    print(f"{args.split}: {read}, {figures.pop('targets'):,.0f} {'tokens' if tokens else 'answers'}")
    print(f"  loss            {figures.pop('loss'):.4f}{' nats per token' if tokens else ''}")
    forms = {"perplexity": ".2f", "bits_per_byte": ".4f"}
    for name, value in figures.items():
        print(f"  {name.replace('_', ' '):<15} {value:{forms.get(name, '.4g')}}")
    return 0
