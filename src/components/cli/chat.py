"""Talk with a trained model. Ctrl-C stops an answer and keeps the conversation; /tool TEXT is what a tool answers, /clear begins anew, /exit leaves."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from components.cli.generate import HELP, Streamed, count
from components.core import allocator, terminal
from components.core.errors import UserError
from components.core.terminal import require_text

if TYPE_CHECKING:
    from components.training.run import Loaded

TOLD = "/tool "
VERB = {
    "sentence": "talk with a trained model that has a chat template",
    "group": "use",
    "takes": ("run", "overrides"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, or a .ckpt file")
    parser.add_argument("overrides", nargs="*", metavar="override", help=HELP)
    parser.add_argument(
        "--template", metavar="FILE", help="a chat template in Jinja; default: the one that came with the tokenizer"
    )
    parser.add_argument("--system", metavar="TEXT", help="what the conversation begins with, as the role system")
    parser.add_argument(
        "--tools",
        metavar="FILE",
        help="tools that the model may call, as a JSON list of schemas; /tool TEXT says what one answers",
    )
    parser.add_argument(
        "--max-new-tokens",
        type=count,
        metavar="N",
        help="of an answer, at most (default: what came with an imported model, else 512)",
    )
    parser.add_argument(
        "--prefill-chunk", type=count, metavar="N", help="read the conversation in pieces of N tokens: less memory"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default 0)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1, mps (default cpu)")


def run(args: argparse.Namespace) -> int:
    if args.run is None:
        raise UserError("components chat", "no run is named", "components chat RUN; components runs lists them")

    require_text("--system", args.system)
    allocator.settle()
    from components.generation.chat import template_of
    from components.generation.conversation import tools_in
    from components.training.run import load

    tools = None if args.tools is None else tools_in(args.tools)
    loaded = load(args.run, args.overrides, device=args.device)
    template_of(loaded.tokenizer, args.template)  # a missing template must show before anything is typed
    said = first = [{"role": "system", "content": args.system}] if args.system else []
    options = {
        "template": args.template,
        "tools": tools,
        "max_new_tokens": args.max_new_tokens,
        "prefill_chunk": args.prefill_chunk,
        "seed": args.seed,
    }
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            terminal.show()
            return 0
        except KeyboardInterrupt:
            terminal.show("\n(/exit leaves)")
            continue
        if line == "/exit":
            return 0
        if line == "/clear":
            said = first
        elif re.fullmatch(r"/[a-z]+", line):  # a mistyped command is not sent to the model
            terminal.complain(
                f"error: {line}: unknown command; /tool TEXT is a tool's answer, /clear begins anew, /exit leaves"
            )
        elif line:
            told = line.startswith(TOLD)
            said = [*said, {"role": "tool" if told else "user", "content": line.removeprefix(TOLD) if told else line}]
            try:
                said = [*said, {"role": "assistant", "content": spoken(loaded, said, options)}]
            except UserError as e:
                terminal.complain(f"error: {' '.join(str(e).split())}")
                said = said[:-1]


def spoken(loaded: Loaded, said: list[dict[str, str]], options: dict[str, Any]) -> str:
    """The answer, shown while it is written. If it is interrupted, the part that was written."""
    show = Streamed()
    try:
        whole = loaded.chat(said, on_text=show, **options)
    except KeyboardInterrupt:
        terminal.show(" ...")
        return show.text
    show.end(whole)
    return whole
