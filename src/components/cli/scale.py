"""Train a recipe at several sizes, fit how its loss falls, and predict the next size before it is trained."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from components.core import terminal

VERB = {
    "sentence": "train a recipe at several sizes, and predict the next one before it is run",
    "group": "train",
    "takes": ("recipe", "overrides"),
    "words": ("sizes", "next", "tokens", "grow", "rate", "tune", "tune_steps", "metric", "seeds", "jobs", "launcher"),
}

EPILOG = """examples:
  components scale recipe=gpt_python model.attention.n_heads=12 sizes=4 dry
  components scale recipe=gpt_python model.attention.n_heads=12 sizes=0.2M,0.5M,1M,2M seeds=3
  components scale recipe=gpt_python model.attention.n_heads=12 sizes=0.2M,0.5M,1M,2M seeds=3 next=4M
  components scale STUDY next=8M

The same command again goes on where it was stopped; seeds= and next= add to what is there.
  sizes=4               so many, each twice the one before, the last the recipe's own; or numbers of parameters: 200k,0.5M
  next=4M               predicted, then trained; without it twice the largest is predicted alone
  tokens=20             for each parameter, several to tell size and tokens apart: 5,10,20; recipe: as many for every size as the recipe has
  grow=width            or both: depth too
  rate=mup              the recipe's rate carries over by muP; own: init and rate as they are
  tune=optimizer.lr:3   each size tunes by itself instead; tune_steps=N
  metric=val_loss       the figure whose law it is, such as val_bits_per_byte
  seeds=N               runs of each size (1)
  jobs=N launcher=NAME  processes at a time, with one thread each; launcher=joblib, submitit_slurm
  dry                   print the ladder and its hours, measured on 20 steps of each size"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("overrides", nargs="*", metavar="recipe=NAME | STUDY | override | word=value | dry", help="as below")
    parser.add_argument("--json", action="store_true", help="the study as data, and nothing else")


def run(args: argparse.Namespace) -> int:
    from components.studies.scaling import scale
    from components.studies.sizes.question import WORDS
    from components.studies.typed import saved_when_stopped, typed

    asked = typed(args.overrides, WORDS)
    with saved_when_stopped():
        made = scale(None, asked.overrides, **asked.own, study=asked.study, dry=asked.dry, quiet=args.json)  # type: ignore[arg-type]  # ``typed`` knows which words there are
    if args.json:
        told = None if made.law is None else made.law.data()
        said = None if made.prediction is None else made.prediction.data()
        held = {"folder": str(made.folder), **asdict(made.study), "law": told, "prediction": said}
        if made.hours is not None:
            held |= {"hours": asdict(made.hours), "beyond": [asdict(v) for v in made.beyond]}
        terminal.show(json.dumps(held, indent=1))
    elif made.law is not None:
        terminal.show(f"{made}\n{made.folder / 'report.html'}")
    return 1 if any(r.state != "done" for r in made.study.runs) else 0
