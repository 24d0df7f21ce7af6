"""Measure a run or a checkpoint: loss, perplexity and bits per byte on its own data or on other data."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, or a .ckpt file")
    parser.add_argument("overrides", nargs="*", metavar="override", help="data=text data.path=other.txt")
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="which held-out part of the data")
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    from components.run import evaluate

    figures = evaluate(args.run, args.overrides, split=args.split)
    if args.json:
        print(json.dumps(figures))
        return 0
    print(f"{args.split}: {figures['documents']:,.0f} documents, {figures['targets']:,.0f} tokens")
    print(f"  loss            {figures['loss']:.4f} nats per token")
    print(f"  perplexity      {figures['perplexity']:.2f}")
    print(f"  bits per byte   {figures['bits_per_byte']:.4f}")
    return 0
