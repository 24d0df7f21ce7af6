"""Train a recipe, with any part or value overridden; everything the run did goes to runs/<recipe>/<time>/."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any

from components.core import allocator, terminal
from components.core.errors import UserError

VERB = {
    "sentence": "train a recipe, with any part or value overridden",
    "group": "train",
    "takes": ("recipe", "overrides"),
    "words": ("match", "free"),
}

EPILOG = """examples:
  components train recipe=gpt_python model/attention=gqa model.attention.n_kv_heads=2
  components train data=text data.path=book.txt
  components train recipe=gpt_python model/ffn=glu match=parameters
  components train resume=auto trainer.max_steps=2000
  components train --multirun model/norm=rms,layer seed=1,2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="recipe=NAME | resume=RUN | init_from=RUN | match=BUDGET | override",
        help="group=part, path.option=value; resume= goes on with a run, init_from= starts from its weights; match=parameters or flops solves "
        "free= (model.ffn.d_ff) so that the run takes as much as its recipe alone",
    )
    parser.add_argument("-m", "--multirun", action="store_true", help="one run for each combination of values written a,b")


def run(args: argparse.Namespace) -> int:
    words = matched(args.overrides, several=args.multirun)
    if args.multirun:
        from components.compose.multirun import multirun

        results = multirun(None, args.overrides)
        terminal.show("\n".join(summary(results)))
        return 1 if any(r.exit_code for r in results) else 0

    allocator.settle()
    from components.training.run import train
    from components.training.signals import Preempted

    try:
        train(None, words)
    except Preempted:
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # all is saved, and a second one must not change what this process says of it
        raise
    return 0


def matched(words: list[str], *, several: bool) -> list[str]:
    """The overrides, with those that ``match=`` adds. UserError where the budget cannot be reached, or where there are several runs."""
    own = {k: v for k, equals, v in (w.partition("=") for w in words) if equals and k in VERB["words"]}
    if not own:
        return words
    if several:
        raise UserError("match", "is solved for one run", "components ablate compares several")
    from components.studies.matching import match_one

    rest = [w for w in words if w.partition("=")[0] not in own]
    solved = match_one(rest, own.get("match"), own.get("free"))
    for word in solved[len(rest) :]:
        terminal.tell(f"match={own['match']}: {word}")
    return solved


def summary(results: list[Any]) -> list[str]:
    """One table of all jobs: what each was asked, and what came of it."""
    from components.compose.jobs import differing
    from components.core.errors import printable
    from components.core.layout import table
    from components.runs.metrics_file import HEADS, SECONDS, called, measured

    own = tuple(dict.fromkeys(n for r in results for n in measured(r.figures)))
    names = {**HEADS, **{n: called(n) for n in own}}
    names[SECONDS] = names.pop(SECONDS)  # behind what a task measures
    rows = []
    for r, swept in zip(results, differing(results)):
        figures = [f"{r.figures[c]:.4g}" if isinstance(r.figures.get(c), (int, float)) else "-" for c in names]
        state = r.figures.get("state", "failed") if r.exit_code == 0 else f"failed ({r.exit_code})"
        rows.append((str(r.number), " ".join(swept), state, *figures, os.path.relpath(r.folder)))
    head = ("job", "overrides", "state", *names.values(), "folder")
    why = [f"  job {r.number} failed: {printable(r.error)}" for r in results if r.exit_code and r.error]
    return ["", *table(rows, head=head, limit=48), *why]
