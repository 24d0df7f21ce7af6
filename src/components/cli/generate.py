"""Continue a prompt with a trained model; the text appears as it is made."""

from __future__ import annotations

import argparse
import sys

from components.errors import UserError

HELP = "decoding=greedy, or 'decoding.samplers=[{name: temperature, value: 0.5}, {name: top_p, p: 0.9}]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, or a .ckpt file")
    parser.add_argument("overrides", nargs="*", metavar="override", help=HELP)
    parser.add_argument("--prompt", default="", help="what the text begins with; empty begins a document")
    parser.add_argument("--max-new-tokens", type=_count, default=200, metavar="N", help="at most (default 200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default 0)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1, mps (default cpu)")
    parser.add_argument("--samples", type=_count, default=1, metavar="N", help="texts (default 1)")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number >= 1")
    return int(text)


def run(args: argparse.Namespace) -> int:
    if args.run is None:
        raise UserError("components generate", "no run is named", "components generate RUN; components runs lists them")

    from components.run import load

    loaded = load(args.run, args.overrides, device=args.device)
    if args.samples > 1:
        made = loaded.generate(args.prompt, max_new_tokens=args.max_new_tokens, seed=args.seed, count=args.samples)
        for i, text in enumerate(made):
            print(f"=== sample {i + 1} ===\n{text}\n")
        return 0
    shown = []

    def show(text: str) -> None:
        shown.append(text)
        sys.stdout.write(text)
        sys.stdout.flush()

    show(args.prompt)
    whole = loaded.generate(args.prompt, max_new_tokens=args.max_new_tokens, seed=args.seed, on_text=show)
    # a token may be a part of a character: what was held back at the end
    print(whole[len("".join(shown)) :] if whole.startswith("".join(shown)) else "")
    return 0
