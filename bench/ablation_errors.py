"""How often an ablation is wrong: false alarms where two variants are the same, and how often a known handicap is found.

``python bench/ablation_errors.py --write`` trains four variants of `llama_tiny` with 40 seeds each, in five minutes on one core, into
docs/ablation_errors.json, and makes the table of docs/ablate.md; ``--render`` makes the table again without training. A run that was interrupted
goes on. The studies are resampled from these runs: a study of n seeds draws n of the 40 without putting back and asks `components.studies` for its verdict.
tests/studies/test_ablation_errors.py holds them to what the page promises.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent
HELD, PAGE = ROOT / "docs" / "ablation_errors.json", ROOT / "docs" / "ablate.md"
RECIPE, SEEDS, STUDIES = "llama_tiny", 40, 2_000
SETTINGS = ["trainer.max_steps=60", "task.samples=0", "task.validation_every=60"]
# the first is the recipe; what each of the others is
VARIANTS: dict[str, list[str]] = {
    "recipe": [],
    "model.position.layout=half": ["model.position.layout=half"],
    "model.norm.unit_offset=true": ["model.norm.unit_offset=true"],
    "model.ffn.d_ff=144": ["model.ffn.d_ff=144"],
}
SAME = {
    "model.position.layout=half": "the same family of functions, its channels in another order: other draws",
    "model.norm.unit_offset=true": "the same function, its weights stored less one: other rounding",
}
HANDICAPS = {"model.ffn.d_ff=144": "d_ff shorter by a quarter"}
Losses = Mapping[str, Sequence[float]]  # {variant: final validation loss by seed}


def train(variant: str, seed: int) -> float:
    """The final validation loss of one run."""
    import components

    with tempfile.TemporaryDirectory() as folder:
        words = [*SETTINGS, *VARIANTS[variant], f"seed={seed}", f"paths.runs={folder}"]
        return components.train(RECIPE, words, quiet=True).figures["val_loss"]


def verdicts(losses: Losses, variant: str, seeds: int, *, count: int = STUDIES, paired: bool = True) -> list[float]:
    """p of ``count`` studies of the recipe and ``variant``; unpaired: each side has its own seeds, and Welch's test."""
    from components.studies import statistics

    chance, found = random.Random(f"{variant} {seeds}"), []
    ours, theirs = losses[variant], losses["recipe"]
    for _ in range(count):
        drawn = chance.sample(range(len(ours)), seeds if paired else 2 * seeds)
        if paired:
            _, p = statistics.t_test([ours[s] - theirs[s] for s in drawn])
        else:
            p = statistics.unpaired([ours[s] for s in drawn[:seeds]], [theirs[s] for s in drawn[seeds:]])
        found.append(p)
    return found


def share(ps: Sequence[float]) -> float:
    """Of studies that say lower or higher."""
    from components.studies.statistics import ALPHA

    return sum(p <= ALPHA for p in ps) / len(ps)


def named(losses: Losses, variant: str) -> int:
    """The seeds that the power statement names for the difference between all runs, with their standard deviation."""
    from components.studies import statistics

    differences = [a - b for a, b in zip(losses[variant], losses["recipe"])]
    told = statistics.paired(differences)
    seeds = statistics.seeds_needed(told.mean, told.sd or 0.0)
    assert seeds is not None, variant
    return seeds


def table(losses: Losses) -> str:
    """Shares of studies that say lower or higher, paired and with seeds of their own for each side."""
    from components.studies import statistics
    from components.studies.sentences import rounded

    lines = [
        "| the variant differs by | difference over 40 seeds | sd of differences | sd of runs | seeds | paired: told | unpaired: told |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for variant, what in (SAME | HANDICAPS).items():
        differences = [a - b for a, b in zip(losses[variant], losses["recipe"])]
        told, single = statistics.paired(differences), statistics.spread(losses[variant]) or 0.0
        sign = "\u2212" if told.mean < 0 else "+"
        for i, seeds in enumerate((3, 5, 10) if variant in SAME else (3, named(losses, variant))):
            shown = (f"`{variant}`: {what}", f"{sign}{rounded(told.mean)}", rounded(told.sd or 0.0), rounded(single))
            paired, apart = (share(verdicts(losses, variant, seeds, paired=p)) for p in (True, False))
            lines.append(f"| {' | '.join(shown if not i else [''] * 4)} | {seeds} | {paired:.1%} | {apart:.1%} |")
    return "\n".join(lines)


def page(text: str, losses: Losses) -> str:
    """docs/ablate.md with its table made anew."""
    begin, end = "<!-- written by bench/ablation_errors.py -->\n", "<!-- end -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}{table(losses)}\n{end}{rest.partition(end)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="train what is missing, and keep it")
    parser.add_argument("--render", action="store_true", help="make the table of the page from what is kept")
    asked = parser.parse_args()
    held = {"recipe": RECIPE, "settings": SETTINGS, "variants": VARIANTS, "losses": {name: [] for name in VARIANTS}}
    if HELD.exists():
        kept = json.loads(HELD.read_text(encoding="utf8"))
        if {k: v for k, v in kept.items() if k != "losses"} == {k: v for k, v in held.items() if k != "losses"}:
            held = kept
    if asked.write:
        for seed in range(SEEDS):
            for variant, losses in held["losses"].items():
                if len(losses) == seed:
                    losses.append(train(variant, seed))
            HELD.write_text(json.dumps(held, indent=1) + "\n", encoding="utf8")
            print(seed, {name: round(values[seed], 4) for name, values in held["losses"].items()}, file=sys.stderr, flush=True)
    if asked.write or asked.render:
        PAGE.write_text(page(PAGE.read_text(encoding="utf8"), held["losses"]), encoding="utf8")
    print(table(held["losses"]))


if __name__ == "__main__":
    main()
