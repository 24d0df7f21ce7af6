"""Clean, split and tokenise a recipe's data into the cache, by several processes or as one of many jobs; what is there already stays.

Training finds it there, and prepares what is missing in the same way. A job that was killed goes on where it was."""

from __future__ import annotations

import argparse
import re
import sys
import time

from components.core import terminal
from components.core.errors import UserError

VERB = {
    "sentence": "clean, split and tokenise a recipe's data into the cache",
    "group": "train",
    "takes": ("recipe", "overrides"),
    "words": ("workers", "shard"),
}

EPILOG = """examples:
  components prepare recipe=gpt_python
  components prepare data=text data.path=corpus/ tokenizer=pretrained tokenizer.path=tokenizer.json workers=8
  components prepare recipe=gpt_python data=text data.path=corpus/ shard=3/64

With shard=I/N it does the I-th of N shares and stops: first of reading, and once all shares are read, of tokenising. So give
the same jobs twice, then once without a shard, which does what is missing and puts all together."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="recipe=NAME | workers=N | shard=I/N | override",
        help="workers= processes, one core each (default: all cores, where the data are worth it); shard= one share of N; "
        "group=part, path.option=value as for train",
    )


def run(args: argparse.Namespace) -> int:
    from components.core.command_words import taken

    rest, words = taken(args.overrides, ("workers", "shard"))
    workers, share = workers_of(words.get("workers")), share_of(words.get("shard"))

    from components.compose import compose

    composed = compose(None, rest)

    from components.core.bar import Bar
    from components.corpus.work import Asked, Unfinished, asking, cores
    from components.runs.preparing import corpus_of, task_options
    from components.training.preflight import check_paths

    with composed.told():
        check_paths(composed.config["data"])
    bar = Bar(sys.stderr)
    began: list[float] = []  # when the work began; empty: there was none

    def begin() -> None:
        if not began:
            began.append(time.perf_counter())

    try:
        with asking(Asked(workers, share)):
            _, corpus = corpus_of(composed.config, task_options(composed.config), bar, begin=begin)
    except Unfinished as e:
        bar.stop()
        done = "read" if e.what == "read" else "tokenised"
        terminal.show(f"shard {words['shard']} is done; {e.done} of {e.total} pieces of the data are {done}")
        terminal.show("when all are: the same again with each shard, or once without")
        return 0
    seconds = time.perf_counter() - began[0] if began else 0.0
    for line in corpus.report.lines():
        terminal.show(line)
    if tokens := corpus.tokens:
        each = ", ".join(f"{n:,} {split}" for split, n in tokens.items())
        terminal.show(f"{sum(tokens.values()):,} tokens: {each}; vocabulary {corpus.tokenizer.vocab_size:,}")
    rate = f", {sum(tokens.values()) / seconds:,.0f} tokens a second" if tokens and began else ""
    how = f"made in {seconds:.1f} s{rate} (up to {workers or cores()} processes)" if began else "all was there already"
    terminal.show(f"{how}\nhash {corpus.hash}, in {corpus.folder}")
    return 0


def workers_of(said: str | None) -> int | None:
    if said is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,3}", said):
        raise UserError("workers", f"{said!r} is no number of processes", "workers=8")
    return int(said)


def share_of(said: str | None) -> tuple[int, int] | None:
    """(3, 64) of ``3/64``."""
    if said is None:
        return None
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", said)
    share = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= share[0] <= share[1]:
        raise UserError("shard", f"{said!r} is no share of the data", "shard=1/64 to shard=64/64")
    return share
