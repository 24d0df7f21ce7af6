"""What GRPO adds to a supervised start: exact match on numbers that nobody has trained on, three seeds.

``python bench/grpo.py [--write] [--seeds 3]`` trains ``recipe=spell_numbers`` and then ``recipe=spell_numbers_grpo`` from it, seed by seed, and prints the
table; ``--write`` keeps the figures in docs/grpo.json and renews the section of docs/post_training.md, ``--render`` makes it again from what was kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line has it: threads that wait take no core from others

import section

DOCS = Path(__file__).parent.parent / "docs"
FIGURES, PAGE = DOCS / "grpo.json", DOCS / "post_training.md"
DRAWS = 4  # answers that are drawn to each number, for the share that is right when nothing is greedy
ASKED = 20  # points that exact match is to rise by


def measured(run: Path) -> dict[str, float]:
    """Of a run's last checkpoint on its test split: the share of right answers, greedy and drawn from the model's distribution."""
    import components
    from components.generation.chat import template_of
    from components.generation.drawing import draw_answers
    from components.generation.generating import continue_ids
    from components.parts.data.conversations_of import ConversationsOf

    loaded = components.load(run / "checkpoints" / "last.ckpt")
    words = template_of(loaded.tokenizer)
    held = test_examples(ConversationsOf(source=loaded.config["data"]["source"]), loaded.config["task"]["test_fraction"])
    prompts = [words.ids([dict(e.input[0])]) for e in held]
    meant = [e.input[1]["content"] for e in held]
    options: dict[str, Any] = {"ends": words.ends(), "max_new_tokens": loaded.config["task"]["sample_tokens"]}
    given = loaded.model, loaded.tokenizer, {**loaded.config, "decoding": {"name": "greedy"}}
    greedy = continue_ids(*given, prompts, seeds=[(0, 0)] * len(prompts), **options)
    rows = [p for p in prompts for _ in range(DRAWS)]
    drawn = draw_answers(*given, rows, seeds=[(1, i) for i in range(len(rows))], **options)

    def right(answers: list[list[int]], each: int) -> float:
        texts = [loaded.tokenizer.decode([i for i in ids if i not in options["ends"]]).strip() for ids in answers]
        return statistics.mean(text == meant[i // each] for i, text in enumerate(texts))

    return {"greedy": right(greedy, 1), "drawn": right(drawn, DRAWS), "count": len(held)}


def test_examples(source: Any, share: float) -> list[Any]:
    """The examples that every run with this share holds out: a hash of the input decides, and not the seed."""
    from components.corpus.clean import Report
    from components.corpus.examples import cleaned
    from components.corpus.texts import Cleaning

    cleaning = Cleaning(0, 0.05, share, 0)
    return [e for digest, e in cleaned(source.examples(), Report(called="examples")) if cleaning.split_of(digest) == "test"]


def one(seed: int, folder: Path) -> dict[str, Any]:
    """Start and tuned run of a seed, each with its figures and seconds."""
    import components

    made: dict[str, Any] = {"seed": seed}
    said = [f"seed={seed}", "trainer.enable_progress_bar=false", f"paths.runs={folder}"]
    run: Path | None = None
    for name in ("spell_numbers", "spell_numbers_grpo"):
        began = time.perf_counter()
        start = [] if run is None else [f"init_from={run}"]
        run = components.train(name, [*said, *start], quiet=True).folder
        assert run is not None
        made[name] = {**measured(run), "seconds": time.perf_counter() - began}
        print(f"seed {seed}, {name}: {made[name]}", file=sys.stderr, flush=True)
    *_, last = csv.DictReader((run / "metrics.csv").open())
    made |= {name: float(last[f"train_{name}"]) for name in ("reward", "kl", "length")}
    return made


def text(kept: dict[str, Any]) -> str:
    """The section: a row for each seed, and what came of what was asked."""
    lines = [
        "## GRPO on numbers in words",
        "",
        f"Made by `python bench/grpo.py --write` on {kept['day']}, {kept['machine']}, beside other work. Recipe `spell_numbers`",
        "stops early; `spell_numbers_grpo` goes on from there: the reward is 1 for the right answer, else 0. Exact match is over the numbers",
        "of the test split, which no run has trained on: greedy,",
        f"and as the model draws ({DRAWS} answers each).",
        "",
        "| seed | greedy: start | GRPO | drawn: start | GRPO | reward at the end | KL | seconds |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in kept["runs"]:
        a, b = r["spell_numbers"], r["spell_numbers_grpo"]
        cells = [f"{x:.1%}" for x in (a["greedy"], b["greedy"], a["drawn"], b["drawn"])]
        lines.append(
            f"| {r['seed']} | {' | '.join(cells)} | {r['reward']:.2f} | {r['kl']:.2f} | {a['seconds'] + b['seconds']:.0f} |"
        )
    rises = [100 * (r["spell_numbers_grpo"]["greedy"] - r["spell_numbers"]["greedy"]) for r in kept["runs"]]
    held = sum(rise >= ASKED for rise in rises)
    count = kept["runs"][0]["spell_numbers"]["count"]
    lines += [
        "",
        f"{count} numbers. Greedy exact match changes by {', '.join(f'{r:+.1f}' for r in rises)} points (mean {statistics.mean(rises):+.1f}); "
        f"at least {ASKED} were asked, which {held} of {len(rises)} seeds reach.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--render", action="store_true")
    args = parser.parse_args()
    if args.render:
        kept = json.loads(FIGURES.read_text(encoding="utf8"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            runs = [one(seed, Path(folder)) for seed in range(args.seeds)]
        machine = f"{os.cpu_count()} cores ({platform.machine()}), {os.environ.get('OMP_NUM_THREADS', 'all')} threads"
        kept = {"day": time.strftime("%Y-%m-%d"), "machine": machine, "runs": runs}
    if args.write:
        FIGURES.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf8")
    if args.write or args.render:
        section.put("grpo", text(kept), PAGE)
    print(text(kept))


if __name__ == "__main__":
    main()
