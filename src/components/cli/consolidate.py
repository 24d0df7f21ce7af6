"""Make one ordinary file of a checkpoint in shards, or write a checkpoint's weights as safetensors."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from components.core import terminal
from components.core.errors import UserError

VERB = {
    "sentence": "make one file of a checkpoint in shards, or safetensors of any",
    "group": "exchange",
    "takes": ("run",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, a folder of shards or a .ckpt file"
    )
    parser.add_argument(
        "--to",
        metavar="FILE",
        help="file.ckpt, which a run goes on from, or file.safetensors, the weights alone (default: best.whole.ckpt beside best.ckpt)",
    )
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    if args.run is None:
        raise UserError("components consolidate", "no run is named", "components consolidate RUN --to model.safetensors")
    from components.runs.consolidating import consolidate

    made = consolidate(args.run, None if args.to is None else Path(args.to))
    if args.json:
        terminal.show(json.dumps(asdict(made), default=str))
        return 0
    terminal.show(f"{made.source}, step {made.step:,}: {made.tensors:,} tensors, {made.bytes:,} bytes\nfile: {made.file}")
    return 0
