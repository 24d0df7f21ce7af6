"""What a training run will hold, compute, send, last and cost, without an accelerator and before one is paid for."""

from __future__ import annotations

import argparse
import json
import math

from components.core import terminal

VERB = {
    "sentence": "memory, FLOPs, traffic, days and cost of a training run, before it is paid for",
    "group": "look",
    "takes": ("recipe", "overrides"),
}

EPILOG = """examples:
  components plan recipe=known/llama3_1_70b trainer.devices=64 trainer.strategy=fsdp2 trainer.precision=bf16-mixed
  components plan recipe=gpt2_124m --accelerator h100 --tokens 1e10 --price-per-hour 2.5
  components plan recipe=known/llama3_1_8b trainer.devices=16 model.context_length=8192 --accelerator h100 --search"""

SEARCH = ("most_rows", "per_machine", "network")  # flags of a search alone
ACCELERATOR = ("search", "tokens", "price_per_hour", "utilisation", *SEARCH)  # and those that say nothing without one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("overrides", nargs="*", metavar="recipe=NAME | override", help="group=part, path.option=value")
    parser.add_argument("--accelerator", metavar="NAME", help="whose memory and speed: h100, a100, l4, rtx_4090, mi300x, ...")
    parser.add_argument("--search", action="store_true", help="try the layouts of so many devices and rank those that fit")
    parser.add_argument(
        "--most-rows", action="store_true", help="with --search: the most rows that fit, whatever task.batch_size says"
    )
    parser.add_argument("--tokens", type=amount, metavar="N", help="that the run reads: 1e12")
    parser.add_argument("--utilisation", type=share, metavar="X", help="share of the accelerator's stated peak (default 0.4)")
    parser.add_argument("--price-per-hour", type=amount, metavar="X", help="of one accelerator")
    parser.add_argument(
        "--per-machine", type=whole, metavar="N", help="with --search: accelerators that fast links join (default 8)"
    )
    parser.add_argument(
        "--network",
        type=amount,
        metavar="X",
        help="with --search: GB/s of one accelerator to other machines (default 50: 400 Gb/s)",
    )
    parser.add_argument("--json", action="store_true", help="as data")


def amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def share(text: str) -> float:
    value = amount(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: a number above 0, 1 at most")
    return value


def whole(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def run(args: argparse.Namespace) -> int:
    from components.compose import compose
    from components.core.errors import UserError

    given = next((name for name in ACCELERATOR if getattr(args, name)), None)
    if args.accelerator is None and given:
        raise UserError(_flag(given), "needs an accelerator", "add --accelerator h100, say")
    if args.price_per_hour is not None and args.tokens is None:
        raise UserError("--price-per-hour", "needs the length of the run", "add --tokens 1e12, say")
    for name in () if args.search else SEARCH:
        if getattr(args, name):
            raise UserError(_flag(name), "goes with --search", "a plan of one layout does not depend on it: leave it out")
    composed = compose(None, args.overrides)

    from components.cli.measure import vocabulary
    from components.training.estimate import answering, report

    with composed.told():
        size = vocabulary(composed.config)
        said = {"utilisation": args.utilisation, "machine": args.per_machine, "network": args.network}
        own = {name: value for name, value in said.items() if value is not None}
        asked = answering.Asked(args.accelerator, args.tokens, price=args.price_per_hour, **own)
        subject = answering.subject_of(composed.config, size.size)
        answer = answering.answer(subject, composed.recipe or "custom", size.note, asked)
        if args.search:
            found = answering.search_of(answer, fixed=not args.most_rows)
            terminal.show(
                json.dumps(report.search_data(found, answer), indent=1)
                if args.json
                else "\n".join(report.search_lines(found, answer))
            )
            return 0
    terminal.show(json.dumps(report.plan_data(answer), indent=1) if args.json else "\n".join(report.lines(answer)))
    return 0
