"""Continue prompts with a trained model, or score texts. A single text is shown while it is written.

An encoder-decoder reads the prompt as its source, and its own text is printed.

  components generate RUN --prompts asked.jsonl --to answered.jsonl

writes a completion for every {"prompt": ...} of a file; data=conversations reads them, for a student of this model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from components.core import allocator, terminal
from components.core.errors import UserError
from components.core.files import read_text
from components.core.terminal import require_text

if TYPE_CHECKING:
    from components.training.run import Loaded

VERB = {
    "sentence": "continue a prompt with a trained model, or score texts",
    "group": "use",
    "takes": ("run", "overrides"),
}

ALONE = ("prompt", "target", "score", "prefill_chunk")  # what has no meaning beside a file of prompts
HELP = "decoding=greedy, cache=ring, or 'decoding.samplers=[{name: temperature, value: 0.5}, {name: top_p, p: 0.9}]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN_OR_CHECKPOINT", help="a run's folder, its time, auto, or a .ckpt file")
    parser.add_argument("overrides", nargs="*", metavar="override", help=HELP)
    several = {"action": "append", "default": []}
    parser.add_argument(
        "--prompt",
        **several,
        metavar="TEXT",
        help="what the text begins with; empty begins a document; an encoder-decoder's source; may be given several times",
    )  # type: ignore[arg-type]
    parser.add_argument("--prompts", metavar="FILE", help='jsonl with a {"prompt": ...} in each line; needs --to')
    parser.add_argument("--to", metavar="FILE", help="of --prompts: the jsonl to write, prompts with their completions")
    parser.add_argument("--target", default="", metavar="TEXT", help="what an encoder-decoder's own text begins with")
    parser.add_argument("--stop", **several, metavar="TEXT", help="end before this text; may be given several times")  # type: ignore[arg-type]
    parser.add_argument("--samples", type=samples, default=1, metavar="N", help="texts of each prompt (default 1)")
    parser.add_argument(
        "--max-new-tokens", type=count, metavar="N", help="at most (default: what came with an imported model, else 200)"
    )
    parser.add_argument("--prefill-chunk", type=count, metavar="N", help="read prompts in pieces of N tokens: less memory")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default 0)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1, mps (default cpu)")
    parser.add_argument(
        "--score",
        **several,
        metavar="FILE",
        help="how likely the model finds the file's text, instead of writing; several times, an encoder-decoder with a --prompt for each",
    )  # type: ignore[arg-type]


def samples(text: str) -> int:
    return count(text, 10_000)


def count(text: str, most: int = 1_000_000) -> int:
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    if len(text) > 9 or int(text) > most:
        raise argparse.ArgumentTypeError(f"{text[:20]} is more than {most:,}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    if args.run is None:
        raise UserError("components generate", "no run is named", "components generate RUN; components runs lists them")
    for option in ("prompt", "target", "stop"):
        require_text(f"--{option}", getattr(args, option))
    if (args.prompts is None) != (args.to is None):
        raise UserError("--prompts", "goes with --to, and --to with it", "--prompts asked.jsonl --to answered.jsonl")
    if args.prompts is not None and (other := [n for n in ALONE if getattr(args, n)]):
        option = other[0].replace("_", "-")
        raise UserError(f"--{option}", "does not go with --prompts", "leave it out")
    texts = [read_text(Path(file).expanduser()) for file in args.score]

    allocator.settle()
    from components.training.run import load

    loaded = load(args.run, args.overrides, device=args.device)
    if args.prompts is not None:
        from components.generation.completions import write_completions

        given = {"count": args.samples, "max_new_tokens": args.max_new_tokens, "seed": args.seed, "stop": args.stop}
        n = write_completions(loaded, Path(args.prompts).expanduser(), Path(args.to).expanduser(), **given)
        terminal.show(f"{n:,} completions\nfile: {args.to}")
        return 0
    if loaded.reads_source and not args.prompt:
        raise UserError("--prompt", "an encoder-decoder writes after it has read a source", "give it as --prompt TEXT")
    if texts:
        return scored(loaded, args.score, texts, args.prompt if loaded.reads_source else None)
    options = {
        "max_new_tokens": args.max_new_tokens or loaded.tokenizer.most or 200,
        "seed": args.seed,
        "stop": args.stop,
        "prefill_chunk": args.prefill_chunk,
        "target": args.target,
    }
    prompts = args.prompt or [""]
    if len(prompts) > 1 or args.samples > 1:
        for i, made in enumerate(loaded.generate(prompts, count=args.samples, **options)):
            for j, text in enumerate([made] if args.samples == 1 else made):
                names = [f"prompt {i + 1}"] * (len(prompts) > 1) + [f"sample {j + 1}"] * (args.samples > 1)
                terminal.show(f"=== {', '.join(names)} ===\n{text}\n")
        return 0
    show = Streamed(args.target if loaded.reads_source else prompts[0])
    try:
        show.end(loaded.generate(prompts[0], on_text=show, **options))
    except UserError:
        if show.text:
            terminal.show("")  # a text is on the screen: the error begins on a new line
        raise
    return 0


class Streamed:
    """Shows a text as it comes. What it begins with is shown with the first piece: a request that is refused prints nothing."""

    def __init__(self, begin: str = "") -> None:
        self.begin, self.text = begin, ""

    def __call__(self, piece: str) -> None:
        shown = piece if self.text else self.begin + piece
        self.text += shown
        terminal.show(shown, end="", flush=True)

    def end(self, whole: str) -> None:
        """Show the rest of the whole text: a token may be a part of a character, so the last ones may have been held back."""
        terminal.show(whole.removeprefix(self.text) if whole.startswith(self.text) else "")


def scored(loaded: Loaded, files: list[str], texts: list[str], sources: list[str] | None) -> int:
    width = max(map(len, [*files, "file"]))
    terminal.show(f"{'file':<{width}}  {'tokens':>7}  {'log p':>12}  {'log p a token':>13}")
    for file, found in zip(files, loaded.score(texts, sources)):
        tokens = len(found.tokens)
        terminal.show(
            f"{file:<{width}}  {tokens:>7}  {found.log_probability:>12.3f}  {found.log_probability / max(tokens, 1):>13.4f}"
        )
    return 0
