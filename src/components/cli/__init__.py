"""The command ``components``: one module a subcommand, imported when it is called, so that the rest answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from components.core import terminal
from components.core.errors import MOST, UserError, nearest
from components.core.exit import hard_exit, process_group_open

COMMANDS = {
    "train": "train a recipe, with any part or value overridden",
    "evaluate": "measure a run or a checkpoint on its data or on other data",
    "generate": "continue a prompt with a trained model, or score texts",
    "explain": "show on one page what a model does with a text, and why it says what it says",
    "chat": "talk with a trained model that has a chat template",
    "import": "read a checkpoint in Hugging Face's layout, or print the recipe of a config.json",
    "export": "write a run as a folder that transformers loads",
    "runs": "what was run here, or two runs compared",
    "list": "the kinds, or the parts of a kind, one sentence each",
    "show": "one part's parameters, or a recipe's tree of parts",
    "validate": "compose and check a recipe without training it",
    "check": "hold a part, yours too, to the contract of its kind",
    "new": "begin a package with a part of your own",
    "doctor": "versions, devices, kernels, plug-ins, and what is missing",
    "catalogue": "write a page per kind: options, compatibility, size of every part",
    "completion": "print the shell's completion script: bash, zsh or fish",
}
FROM_A_RECIPE = ("train", "validate", "show")
USAGE = "components COMMAND [...]   (components COMMAND --help says more)"


class Parser(argparse.ArgumentParser):
    """Faults become one line like all others, instead of a usage block."""

    def error(self, message: str) -> NoReturn:
        raise UserError(self.prog, message, f"see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Returns the exit code: 0, 2 for a user's mistake (one line on stderr), 1 for a lost rank (likewise), 130 when interrupted."""
    # OpenMP's threads wait for one another by spinning; where another program wants the same core, the default cost a factor of 20
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    words = [*(sys.argv[1:] if argv is None else argv)]  # not list(): the submodule cli.list takes that name here
    terminal.prepare()
    try:
        code = dispatch(words)
    except UserError as e:
        terminal.complain(f"error: {e.line(MOST - len('error: '))}")
        code = e.exit_code
    except KeyboardInterrupt:
        terminal.complain("interrupted")
        code = 130
    except BrokenPipeError:  # `components list | head`: the reader has seen enough
        code = 0
    return terminal.finish(code)


def command() -> NoReturn:
    """What the shell starts: ``main``, and the exit."""
    try:
        code = main()
    except SystemExit as e:  # a run that was stopped says with which code
        if not isinstance(e.code, int):
            raise
        code = e.code
    if process_group_open():
        hard_exit(code)
    sys.exit(code)


def dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        terminal.show(overview())
        return 0
    if words[0] in ("-V", "--version", "version"):
        from components import __version__

        terminal.show(f"lightning-components {__version__}")
        return 0
    name, *rest = words
    if name == "complete":  # what the completion scripts call
        return import_module("components.cli.complete").run(rest)
    if name not in COMMANDS:
        raise UserError("components", f"unknown command {name!r}", nearest(name, COMMANDS, called="commands"))
    parser = parser_of(name)
    if "-h" in rest or "--help" in rest:
        if name in FROM_A_RECIPE:
            check_overrides(rest)
        terminal.show(parser.format_help().rstrip())
        return 0
    return import_module(f"components.cli.{name}").run(parser.parse_intermixed_args(rest))


def parser_of(name: str) -> Parser:
    """What reads a subcommand's words."""
    command = import_module(f"components.cli.{name}")
    parser = Parser(
        prog=f"components {name}",
        description=command.__doc__,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    parser.add_argument("-h", "--help", action="store_true", help="show this and exit")
    return parser


def check_overrides(words: list[str]) -> None:
    """A wrong override beside --help is said, not skipped. Sweeps and resumed runs are composed from more than a recipe."""
    overrides = [w for w in words if "=" in w and not w.startswith("-")]
    if overrides and not {"-m", "--multirun"} & {*words} and not any(w.startswith("resume=") for w in overrides):
        from pathlib import Path

        from components.compose import compose
        from components.compose.words import recipe_and_overrides

        recipe, rest = recipe_and_overrides(overrides)
        compose(recipe, rest, cwd=Path.cwd())


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    examples = [
        "components train recipe=gpt_python model/attention=gqa model.attention.n_kv_heads=2",
        "components show attention/gqa",
    ]
    return "\n".join(
        [
            "usage: " + USAGE,
            "",
            "Language models from interchangeable parts.",
            "",
            *lines,
            "",
            "examples:",
            *(f"  {e}" for e in examples),
        ]
    )
