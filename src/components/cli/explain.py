"""Show what a model does with a text: every step of one real pass, on one page and as a table.

A recipe that was not trained is explained with its first weights. Two names stand side by side."""

from __future__ import annotations

import argparse

from components.compose.request import recipe_word
from components.compose.words import is_override
from components.core import terminal
from components.core.errors import UserError
from components.core.terminal import require_text

VERB = {
    "sentence": "show on one page what a model does with a text, and why it says what it says",
    "group": "use",
    "takes": ("run", "overrides"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subjects",
        nargs="*",
        metavar="RUN_OR_RECIPE | override",
        help="a run's folder, its time, auto, a .ckpt file, or a recipe's name; two to compare them; an override (group=part, path.option=value) "
        "goes to the one that it follows, before the first to both",
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help="what the model reads; [MASK] for a mask, numbers with commas for models that read numbers",
    )
    parser.add_argument("--out", metavar="FILE", help="write the page here (HTML, loads nothing from anywhere)")
    parser.add_argument("--figures", metavar="FOLDER", help="write the same as pictures (PNG)")
    parser.add_argument("--table", action="store_true", help="print the table too when --out or --figures is given")
    parser.add_argument("--loss", action="store_true", help="a backward pass as well: gradients of every layer, dead units")
    parser.add_argument(
        "--target", metavar="TEXT", help="for the loss: a label, amounts, or what an encoder-decoder should write"
    )
    parser.add_argument(
        "--max-new-tokens", type=whole, default=12, metavar="N", help="the model writes so many at most (default 12)"
    )
    parser.add_argument("--shown", type=whole, default=64, metavar="N", help="the last N tokens are shown (default 64)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default 0)")


def whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def subjects(words: list[str]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """([(name, overrides that follow it), ...], overrides that stand before the first and are meant for all)."""
    names: list[tuple[str, list[str]]] = []
    common: list[str] = []
    for word in words:
        if not is_override(word) or recipe_word(word) is not None:
            names.append((word, []))
        else:
            (names[-1][1] if names else common).append(word)
    return names, common


def run(args: argparse.Namespace) -> int:
    names, overrides = subjects(args.subjects)
    if not 1 <= len(names) <= 2:
        raise UserError(
            "components explain",
            f"{len(names) or 'no'} runs or recipes are named",
            'one, or two to compare them: components explain RUN --prompt "def add(a, b):" --out page.html',
        )
    if args.prompt is None:
        raise UserError("components explain", "there is no prompt", "--prompt TEXT says what the model shall read")
    require_text("--prompt", args.prompt)
    require_text("--target", args.target)
    if args.shown < 1:
        raise UserError("--shown", "nothing would be shown", "1 or more")

    from components.explain import explain

    made = explain(
        *names,
        prompt=args.prompt,
        overrides=overrides,
        new_tokens=args.max_new_tokens,
        shown=args.shown,
        loss=args.loss or args.target is not None,
        target=args.target,
        seed=args.seed,
    )
    if args.table or not (args.out or args.figures):
        terminal.show(made.table())
    if args.out:
        file = made.save(args.out)
        terminal.show(f"page: {file} ({file.stat().st_size / 1e6:.2f} MB)")
    if args.figures:
        for file in made.save_figures(args.figures):
            terminal.show(f"figure: {file}")
    return 0
