"""Train a recipe, with any part or value overridden; everything the run did goes to runs/<recipe>/<time>/."""

from __future__ import annotations

import argparse

EPILOG = """examples:
  components train recipe=gpt_python model/attention=gqa model.attention.n_kv_heads=2
  components train data=text data.path=book.txt
  components train resume=auto trainer.max_steps=2000
  components train --multirun model/norm=rms,layer seed=1,2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="recipe=NAME | resume=RUN | init_from=RUN | override",
        help="group=part, path.option=value; resume= goes on with a run, init_from= starts from its weights",
    )
    parser.add_argument("-m", "--multirun", action="store_true", help="one run for each combination of values written a,b")


def run(args: argparse.Namespace) -> int:
    if args.multirun:
        from components.cli.words import recipe_and_overrides
        from components.compose.multirun import multirun

        recipe, overrides = recipe_and_overrides(args.overrides)
        return multirun(recipe, overrides)

    from components.run import train

    train(None, args.overrides)
    return 0
