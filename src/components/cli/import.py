"""Read a checkpoint in Hugging Face's layout as a run of ours, or print the recipe of a config.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from components.core import terminal
from components.core.errors import UserError

VERB = {
    "sentence": "read a checkpoint in Hugging Face's layout, or print the recipe of a config.json",
    "group": "exchange",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="FOLDER_OR_HUB_ID",
        help="a folder with config.json and *.safetensors, a .gguf file, or hf://user/name, hf://user/name@revision",
    )
    parser.add_argument("--to", metavar="RUN", help="the run's folder to write; for generate, evaluate, init_from and export")
    parser.add_argument(
        "--base", metavar="RUN_OR_FOLDER", help="the model that an adapter belongs to, where the folder is PEFT's of an adapter"
    )
    parser.add_argument(
        "--config-only", action="store_true", help="print the recipe of a config.json, and which fields it used"
    )
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        help="compare the logits with those of its class in transformers; unsaid: where the mapping is new",
    )
    parser.add_argument(
        "--probe", action="store_true", help="compare them, write nothing, and say where the first difference arises"
    )


def run(args: argparse.Namespace) -> int:
    if args.config_only + args.probe + (args.to is not None) != 1:
        said = "needs either --to RUN or --config-only or --probe"
        raise UserError("components import", said, "components import FOLDER --to runs/mine")
    if args.config_only:
        terminal.show(config_only(args.path), end="")
        return 0
    from components.runs.importing import import_folder, probe

    if args.base is not None:
        from components.runs.adapters import import_adapter

        if args.probe or args.check:
            raise UserError(
                "--base", "goes with --to RUN alone", "components import ADAPTER --base RUN_OR_FOLDER --to runs/mine"
            )
        terminal.show(import_adapter(args.path, args.base, Path(args.to)))
        return 0
    if args.probe:
        found = probe(args.path)
        terminal.show(str(found))
        return 0 if found.agrees else 1
    if (folder := Path(args.path).expanduser() / "adapter_config.json").is_file() and not folder.with_name(
        "config.json"
    ).exists():
        raise UserError(args.path, "is an adapter, and no model", "name its model too: --base RUN_OR_FOLDER")
    terminal.show(import_folder(args.path, Path(args.to), check=args.check))
    return 0


def config_only(path: str) -> str:
    """The recipe as the text of a file, with config.json in its comments."""
    from components.interop.convert import faults_of, read_config
    from components.interop.recipe_file import recipe_file
    from components.runs.importing import located

    file = Path(path).expanduser()
    place = file if file.is_file() else located(path, ("config.json",))
    architecture, recipe, used, source = read_config(place)
    unused = [n for n in source if n not in used]
    lines = [f"# fields used: {', '.join(used)}", f"# without effect on the numbers: {', '.join(unused) or 'none'}"]
    with faults_of(place if place.is_file() else place / "config.json"):
        text = recipe_file(recipe, f"{architecture.label} with the sizes of {path}.", source)
    return text + "\n".join(lines) + "\n"
