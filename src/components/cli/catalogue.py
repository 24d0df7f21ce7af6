"""Write the catalogue: a page for each kind with options, compatibility and size of every part, plug-ins included."""

from __future__ import annotations

import argparse
from pathlib import Path

from components.core import registry, terminal
from components.core.errors import UserError, nearest
from components.core.files import make_folder, write_text

VERB = {
    "sentence": "write a page per kind: options, compatibility, size of every part",
    "group": "set up",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", metavar="KIND", help="print one kind's page; all kinds if left out")
    parser.add_argument("--to", metavar="FOLDER", help="write <kind>.md and README.md there instead of printing")


def run(args: argparse.Namespace) -> int:
    kinds = registry.kinds()
    if args.kind is not None and args.kind not in kinds:
        raise UserError(args.kind, "unknown kind", nearest(args.kind, kinds, called="kinds"))
    if args.to is not None and Path(args.to).is_file():
        raise UserError(args.to, "is a file", "name a folder")
    from components.catalogue import index_page, kind_page

    pages = {f"{k}.md": kind_page(k) for k in ([args.kind] if args.kind else kinds)}
    if args.kind is None:
        pages = {"README.md": index_page(), **pages}
    if args.to is None:
        terminal.show("\n".join(pages.values()), end="")
        return 0
    folder = make_folder(args.to)
    for name, text in pages.items():
        write_text(folder / name, text)
    terminal.show(f"wrote {len(pages)} pages to {folder}")
    return 0
