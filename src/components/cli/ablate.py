"""Compare parts of a recipe by whole runs: the same seeds, matched budgets, and an answer that says how sure it is."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from components.core import terminal

VERB = {
    "sentence": "compare variants of a recipe by whole runs, and say how sure the differences are",
    "group": "train",
    "takes": ("recipe", "overrides"),
    "words": ("seeds", "design", "match", "free", "tune", "tune_steps", "stop", "metric", "jobs", "launcher"),
}

EPILOG = """examples:
  components ablate recipe=gpt_python model/norm=rms,layer,dynamic_tanh seeds=3
  components ablate recipe=gpt_python model/ffn=mlp,glu model/position=rope,alibi,none match=parameters seeds=5
  components ablate recipe=gpt_python model/attention=gqa,gated_delta_net match=flops tune=optimizer.lr:3 jobs=2
  components ablate recipe=gpt_python model/norm=rms,layer dry
  components ablate STUDY seeds=8

An override with several values says what is compared, all others hold for every run.
  seeds=N               runs of each variant (3)
  design=one            each choice against the recipe; grid: all combinations; cover: every two choices together once
  match=parameters      or flops, time: made equal to the recipe's by free=model.ffn.d_ff, or another integer option
  tune=optimizer.lr:3   each variant tries as many values, on a seed that is not reported; optimizer.lr:[1e-3,3e-3] names them; tune_steps=N
  stop=doubtless        a variant that is behind beyond doubt gets no more seeds
  metric=val_loss       the figure that decides, and others behind commas: a run's own, or an evaluation's, cloze.accuracy; its options are
                        overrides, evaluation.cloze.count=500
  jobs=N launcher=NAME  processes at a time, with one thread each; launcher=joblib, submitit_slurm
  dry                   print the plan and its hours, measured on 20 steps of each variant"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("overrides", nargs="*", metavar="recipe=NAME | STUDY | override | word=value | dry", help="as below")
    parser.add_argument("--json", action="store_true", help="the study as data, and nothing else")


def run(args: argparse.Namespace) -> int:
    from components.studies.ablating import ablate
    from components.studies.asked import WORDS
    from components.studies.typed import saved_when_stopped, typed

    said = typed(args.overrides, WORDS)
    with saved_when_stopped():
        made = ablate(None, said.overrides, **said.own, study=said.study, dry=said.dry, quiet=args.json)  # type: ignore[arg-type]  # ``typed`` knows which words there are
    if args.json:
        found = {} if made.answer is None else {"answer": made.answer.as_data()}
        found |= {} if made.hours is None else {"hours": asdict(made.hours)}
        terminal.show(json.dumps({"folder": str(made.folder), **asdict(made.study), **found}, indent=1))
    elif made.answer is not None:
        terminal.show(f"{made}\n{made.folder / 'report.html'}")
    return 1 if any(r.state != "done" for r in made.study.runs) else 0
