"""The command ``components``. Each subcommand is a module that is imported only when it is called, so that commands start quickly."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from components.cli.verbs import verbs
from components.core import terminal, threads
from components.core.errors import MOST, UserError, nearest
from components.core.exit import hard_exit, process_group_open

USAGE = "components COMMAND [...]   (components COMMAND --help says more)"


class Parser(argparse.ArgumentParser):
    """Errors are one line, like all others, instead of a usage block."""

    def error(self, message: str) -> NoReturn:
        raise UserError(self.prog, message, f"see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Returns the exit code: 0, 2 for a user's mistake (one line on stderr), 1 for a lost rank (likewise), 130 when interrupted."""
    words = [*(sys.argv[1:] if argv is None else argv)]  # not list(): the submodule cli.list takes that name here
    if words[:1] != ["complete"]:
        threads.settle()
    terminal.prepare()
    try:
        code = dispatch(words)
    except UserError as e:
        terminal.complain(f"error: {e.line(MOST - len('error: '))}")
        code = e.exit_code
    except KeyboardInterrupt:
        terminal.complain("interrupted")
        code = 130
    except BrokenPipeError:  # `components list | head`: the reader has left
        code = 0
    return terminal.finish(code)


def command() -> NoReturn:
    """The entry point of the shell command: ``main``, then exit."""
    try:
        code = main()
    except SystemExit as e:  # a run that was stopped brings its own code
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
    if name == "complete":  # the completion scripts call this
        return import_module("components.cli.complete").run(rest)
    if name not in verbs():
        raise UserError("components", f"unknown command {name!r}", nearest(name, verbs(), called="commands"))
    parser = parser_of(name)
    if "-h" in rest or "--help" in rest:
        if "recipe" in verbs()[name].takes:
            check_overrides([w for w in rest if w.partition("=")[0] not in verbs()[name].words])
        terminal.show(parser.format_help().rstrip())
        return 0
    return import_module(f"components.cli.{name}").run(parser.parse_intermixed_args(rest))


def parser_of(name: str) -> Parser:
    """The parser of a subcommand's words."""
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
    """A wrong override beside --help is reported. Sweeps and resumed runs are left out: they need more than a recipe to compose."""
    overrides = [w for w in words if "=" in w and not w.startswith("-")]
    if overrides and not {"-m", "--multirun"} & {*words}:
        from components.compose.composed import compose_request
        from components.compose.request import Request

        request = Request.of(overrides)
        if "resume" not in request.given:
            compose_request(request)


def overview() -> str:
    width = max(map(len, verbs()))
    lines = [f"  {name:<{width}}  {verb.sentence}" for name, verb in verbs().items()]
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
