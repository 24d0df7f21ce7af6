"""Merge several runs of one model into one whose weights are a mean of theirs.

  components merge A B C --to runs/soup
  components merge A B --how slerp --weights 0.7,0.3 --to runs/between
  components merge A B --how ties --base START --density 0.2 --to runs/both

The result is a run: generate, evaluate, export and init_from= take it. Its config, data and tokenizer are those of A.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from components.core import allocator, terminal
from components.core.errors import UserError

VERB = {
    "sentence": "merge the weights of several runs of one model into one",
    "group": "exchange",
    "takes": ("run",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN_OR_CHECKPOINT",
        help="two or more: runs, .ckpt files, or folders in Hugging Face's layout",
    )
    parser.add_argument("--to", metavar="RUN", help="the run's folder to write")
    parser.add_argument(
        "--how",
        choices=("linear", "slerp", "ties"),
        default="linear",
        help="linear: their mean (default); slerp: of two, along the arc between them; ties: what they changed in --base, by majority",
    )
    parser.add_argument(
        "--weights", type=numbers, metavar="W,W", help="one for each run, up to a common factor (default: equal)"
    )
    parser.add_argument("--base", metavar="RUN_OR_CHECKPOINT", help="of ties: what all of them began with")
    parser.add_argument(
        "--density", type=number, metavar="X", help="of ties: the share of each tensor's change that is kept (default 0.2)"
    )


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number") from None


def numbers(text: str) -> list[float]:
    return [number(one) for one in text.split(",")]


def run(args: argparse.Namespace) -> int:
    if not args.runs or args.to is None:
        raise UserError("components merge", "needs runs and --to RUN", "components merge A B --to runs/both")
    allocator.give_back()
    from components.runs.merging import merge_runs

    made = merge_runs(args.runs, Path(args.to), how=args.how, weights=args.weights, base=args.base, density=args.density)
    terminal.show(made)
    return 0
