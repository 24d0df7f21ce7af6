"""Write a run as a folder in Hugging Face's layout, with a model card, and upload it to the hub in one commit."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from components.cli.export import add_shard_size
from components.core import terminal
from components.core.errors import UserError

VERB = {
    "sentence": "upload a run to the Hugging Face hub, with a model card",
    "group": "exchange",
    "takes": ("run",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, or a .ckpt file")
    parser.add_argument("name", nargs="?", metavar="USER/NAME", help="the model on the hub; it is made if it is not there")
    parser.add_argument("--private", action="store_true", help="make it visible to its owner alone, if it is made")
    parser.add_argument("--branch", metavar="NAME", help="another branch than main; it is made if it is not there")
    parser.add_argument("--message", metavar="TEXT", help="of the commit; unsaid: which run it is")
    parser.add_argument("--card", action="store_true", help="replace the model card that is there; else it stays")
    add_shard_size(parser)


def run(args: argparse.Namespace) -> int:
    if args.run is None or args.name is None:
        raise UserError("components push", "needs a run and a name", "components push RUN user/name")
    from components.runs import hub
    from components.runs.exporting import export_run

    hub.may_push(args.name)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        terminal.show(export_run(args.run, folder, shard_bytes=args.shard_size).rpartition("\nfolder: ")[0])
        message = args.message or f"{args.run}, by components push"
        terminal.show(hub.push(folder, args.name, private=args.private, revision=args.branch, message=message, card=args.card))
    return 0
