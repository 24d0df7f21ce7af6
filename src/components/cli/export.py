"""Write a run as a folder in Hugging Face's layout, which transformers and the engines that serve models read, as one GGUF file, or as a program."""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from pathlib import Path

from components.core import terminal
from components.core.errors import UserError

VERB = {
    "sentence": "write a run as a folder that transformers loads, a GGUF file, or a program",
    "group": "exchange",
    "takes": ("run",),
}

OUTTYPES, OUTTYPE = ("F32", "F16", "Q8_0"), "F16"
FILES = (".gguf", ".pt2", ".onnx")  # of them one file is written, else a folder
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, or a .ckpt file")
    parser.add_argument(
        "--to",
        metavar="PLACE",
        help="the folder to write; NAME.gguf: a GGUF file, NAME.pt2 and NAME.onnx: a program of torch.export or ONNX instead",
    )
    parser.add_argument(
        "--outtype",
        type=str.upper,
        choices=OUTTYPES,
        help=f"type of the matrices in a GGUF file: {', '.join(OUTTYPES)} (default {OUTTYPE})",
    )
    add_shard_size(parser)
    parser.add_argument(
        "--adapter", action="store_true", help="write its adapter alone, as PEFT reads it, instead of the whole model"
    )


def add_shard_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shard-size", type=_size, default=5 * 10**9, metavar="SIZE", help="of one file, at most (default 5GB)"
    )


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?I?B?)", text.strip().upper())
    if found is None or found[2] not in UNITS or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write 500MB or 5GB")
    return max(1, int(float(found[1]) * UNITS[found[2]]))


def run(args: argparse.Namespace) -> int:
    if args.run is None or args.to is None:
        raise UserError("components export", "needs a run and --to PLACE", "components export RUN --to exported/mine")
    from components.compose.request import Request
    from components.runs import resume, run_folder
    from components.runs.exporting import export_run
    from components.runs.program_file import export_program, is_program
    from components.runs.run_files import has_tracker

    to = Path(args.to).expanduser()
    if not to.is_dir() and (near := get_close_matches(to.suffix, FILES, n=1)) and to.suffix not in FILES:
        raise UserError("--to", f"{to.name} would be a folder", f"did you mean {to.with_suffix(near[0])}?")
    if to.suffix in WEIGHTS:
        raise UserError(
            "--to", f"{to.name} would be a folder", "name a folder; components consolidate writes weights into one file"
        )
    in_gguf = to.suffix == ".gguf"
    if args.outtype is not None and not in_gguf:
        raise UserError("--outtype", "is the type of numbers in a GGUF file", "--to mine.gguf, or leave it out")
    if args.adapter and (in_gguf or is_program(to)):
        raise UserError(
            "--adapter", f"writes PEFT's folder, and {to.name} is a file", "leave it out: the adapter is in the weights then"
        )
    if in_gguf:
        from components.runs.gguf_exporting import export_gguf

        terminal.show(export_gguf(args.run, to, args.outtype or OUTTYPE))
    elif is_program(to):
        terminal.show(export_program(args.run, to))
    elif args.adapter:
        from components.runs.adapters import export_adapter

        terminal.show(export_adapter(args.run, to))
    else:
        terminal.show(export_run(args.run, to, shard_bytes=args.shard_size))
    folder, file = run_folder.find_run(args.run, resume.runs_folder(Request.of([])))
    if has_tracker(folder):
        from components.training.loggers import tell_export

        tell_export(folder, file or run_folder.checkpoint_of(folder, best=True), to, terminal.show)
    return 0
