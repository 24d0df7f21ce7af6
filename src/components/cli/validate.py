"""Compose and check a recipe without training it: the model is built on the meta device, so any size answers in seconds."""

from __future__ import annotations

import argparse
import json

from components.core import terminal

VERB = {
    "sentence": "compose and check a recipe without training it",
    "group": "look",
    "takes": ("recipe", "overrides"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="recipe=NAME | override", help="group=part, path.option=value")
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    from components.compose import compose

    composed = compose(None, args.overrides)

    from components.cli.measure import count, short, vocabulary
    from components.core.meta import on_meta
    from components.training.preflight import check_paths, check_settings
    from components.training.tuning import rate_lines

    with composed.told():
        check_settings(composed.config)
        check_paths(composed.config["data"])

    size = vocabulary(composed.config)
    model = on_meta(composed.config, size.size)
    parameters, rates = count(model), rate_lines(model, composed.config)
    if args.json:
        data = {"recipe": composed.recipe, "parameters": parameters, "vocabulary": size.size, "vocabulary_note": size.note}
        data |= {"rates": rates, "difference": composed.difference, "notes": composed.notes, "config": composed.config}
        terminal.show(json.dumps(data, indent=1))
        return 0
    about = "about " if size.note else ""
    terminal.show(f"recipe {composed.recipe}: {about}{short(parameters)} parameters ({parameters:,})")
    terminal.show(f"vocabulary: {size.size:,}{f' ({size.note})' if size.note else ''}")
    for line in rates:
        terminal.show(line)
    terminal.show("difference from the recipe:" if composed.difference else "no difference from the recipe")
    for line in [*composed.difference, *composed.notes]:
        terminal.show(f"  {line}")
    terminal.show("valid")
    return 0
