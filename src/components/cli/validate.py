"""Compose and check a recipe without training it: the model is built on the meta device, so any size answers in seconds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="recipe=NAME | override", help="group=part, path.option=value")
    parser.add_argument("--json", action="store_true", help="as data")


def run(args: argparse.Namespace) -> int:
    from components.cli.words import recipe_and_overrides
    from components.compose import compose

    recipe, overrides = recipe_and_overrides(args.overrides)
    composed = compose(recipe, overrides, cwd=Path.cwd())

    from components.cli.measure import count, on_meta, short, vocabulary
    from components.task.frame import check_frame
    from components.task.tuning import rate_lines

    with composed.told():
        check_frame(composed.config)

    size = vocabulary(composed.config)
    model = on_meta(composed.config, size.size)
    parameters, rates = count(model), rate_lines(model, composed.config)
    if args.json:
        data = {"recipe": composed.recipe, "parameters": parameters, "vocabulary": size.size, "vocabulary_note": size.note}
        print(
            json.dumps(
                {**data, "difference": composed.difference, "notes": composed.notes, "config": composed.config}, indent=1
            )
        )
        return 0
    about = "about " if size.note else ""
    print(f"recipe {composed.recipe}: {about}{short(parameters)} parameters ({parameters:,})")
    print(f"vocabulary: {size.size:,}{f' ({size.note})' if size.note else ''}")
    for line in rates:
        print(line)
    print("difference from the recipe:" if composed.difference else "no difference from the recipe")
    for line in [*composed.difference, *composed.notes]:
        print(f"  {line}")
    print("valid")
    return 0
