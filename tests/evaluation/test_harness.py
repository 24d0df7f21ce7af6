"""components evaluate RUN harness=[...] with lm-eval itself: tasks of a local folder, the figures of its own model on the exported folder, one-line errors.

lm-eval is no part of the environment of the tests (docs/decisions/lm-eval-asks-our-own-model.md): to run these, pip install lm-eval accelerate.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import harness_model
import pytest
import yaml

import components
from components.cli import main
from components.core.errors import UserError
from components.evaluating.harness import Harness

pytest.importorskip("lm_eval", reason="needs the extra harness: pip install lm-eval")

NAMES = ["local_places", "local_rolling", "local_writing"]
LIKELIHOODS = ("word_perplexity", "byte_perplexity", "bits_per_byte")


def tasks(folder: Path) -> Path:
    """A choice among texts, the likelihood of texts, and texts that are written: each on a file of its own."""
    folder.mkdir()
    drawn = random.Random(0)
    asked = [
        {
            "question": "It rains. " * drawn.randrange(6) + f"the {animal} is by the",
            "choices": (chosen := drawn.sample(harness_model.PLACES, 4)),
            "answer": drawn.randrange(len(chosen)),
        }
        for animal in ("cat", "dog", "cow", "hen")
        for _ in range(6)
    ]
    texts = [{"text": f"the cat is by the {drawn.choice(harness_model.PLACES)}. " * drawn.randrange(1, 12)} for _ in range(8)]
    for name, rows in (("asked", asked), ("texts", texts)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def data(name: str) -> dict[str, Any]:
        files = {"test": str(folder / f"{name}.jsonl")}
        return {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
            "test_split": "test",
            "metadata": {"version": 1.0},
        }

    whole = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"}
    written = {
        "local_places": {
            **data("asked"),
            "output_type": "multiple_choice",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{answer}}",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        "local_rolling": {
            **data("texts"),
            **whole,
            "metric_list": [{"metric": name} for name in LIKELIHOODS],
        },
        "local_writing": {
            **data("asked"),
            "output_type": "generate_until",
            "doc_to_text": "{{question}}",
            "doc_to_target": "the",
            "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 6, "do_sample": False},
            "metric_list": [{"metric": "exact_match"}, {"metric": "ter"}],
        },
        "local_lost": {**data("nowhere"), **whole},
        "local_unsafe": {**data("texts"), **whole, "unsafe_code": True},
        "local_broken": {**data("texts"), **whole, "output_type": "no_such_output"},
    }
    for name, held in written.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, **held}))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a trained run, its export, and the tasks."""
    place = tmp_path_factory.mktemp("harness")
    tasks(place / "tasks")
    (place / "text.txt").write_text("\n\n".join(harness_model.TEXT * 8))
    small = ["tokenizer=bpe", "tokenizer.vocab_size=290", "model.d_model=32", "model.n_layers=2", "model.context_length=32"]
    few = ["trainer.max_steps=60", "task.samples=0", "optimizer.lr=0.01", f"paths.runs={place / 'runs'}"]
    text = ["data=text", f"data.path={place / 'text.txt'}", "data.split_on=blank_lines"]
    folder = components.train("llama_tiny", [*text, *small, *few], quiet=True).folder
    assert folder is not None
    folder.rename(place / "run")
    assert main(["export", str(place / "run"), "--to", str(place / "exported")]) == 0
    return place


def theirs(place: Path) -> dict[str, dict[str, Any]]:
    """What lm-eval's own model for transformers gets on the exported folder.

    One text at a time: in batches of five lm-eval 0.4.13 gives other likelihoods for windows of the same tokens with another border.
    """
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(place / "exported")},
        tasks=NAMES,
        task_manager=TaskManager(include_path=str(place / "tasks")),
        device="cpu",
        batch_size=1,
    )
    return found["results"]


def test_the_figures_are_those_of_lm_evals_own_model_on_the_exported_folder(place, capsys, monkeypatch):
    pytest.importorskip("accelerate", reason="lm-eval's model for transformers needs it")
    monkeypatch.chdir(place)
    assert main(["evaluate", "run", f"harness=[{','.join(NAMES)}]", "harness_folder=tasks", "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)["harness"]
    known = theirs(place)
    compared = [(task, metric) for task in NAMES for metric in ours[task]]
    assert {metric for _, metric in compared} == {"acc", "acc_norm", *LIKELIHOODS, "exact_match", "ter"}
    for task, metric in compared:
        value = known[task][f"{metric},none"]
        if metric in LIKELIHOODS:
            assert ours[task][metric]["value"] == pytest.approx(value, rel=1e-4)
        else:
            assert ours[task][metric]["value"] == value
    assert 0 < ours["local_places"]["acc"]["value"] < 1
    assert ours["local_places"]["acc"]["count"] == 24
    assert ours["local_places"]["acc"]["error"] == known["local_places"]["acc_stderr,none"]
    (file,) = (place / "run" / "harness").iterdir()
    held = json.loads(file.read_text())
    assert held["results"]["local_places"]["acc,none"] == ours["local_places"]["acc"]["value"]
    assert held["config"]["model_args"] == {"checkpoint": "best.ckpt"}


def test_printed_beside_the_split_with_a_limit_and_shots(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    asked = "harness=[{task: local_places, num_fewshot: 1, fewshot_split: test},local_writing]"
    assert main(["evaluate", "run", asked, "harness_folder=tasks", "harness_limit=7", "evaluation=calibration"]) == 0
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if not line.startswith(" ")][1:] == [
        "calibration",
        "local_places",
        "local_writing",
    ]
    assert "  of 7" in next(line for line in out.splitlines() if line.startswith("  acc_norm"))
    assert "results: " in err


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("local_plaecs", "harness: unknown task 'local_plaecs'; did you mean 'local_places'?"),
        ("arc_easy", "harness: the data of arc_easy cannot be read: "),
        ("local_lost", "harness: the data of local_lost cannot be read: "),
        ("local_broken", "harness: lm-eval does not load local_broken: "),
        ("local_unsafe", "harness: local_unsafe runs code that the model writes"),
    ],
)
def test_what_cannot_be_asked_is_one_line(place, task, said, monkeypatch):
    monkeypatch.chdir(place)
    asked = Harness.of({"harness": [task], "harness_folder": "tasks"})
    assert asked is not None
    with pytest.raises(UserError) as e:
        asked.measure(components.load("exported"))
    assert str(e.value).startswith("harness: ")
    assert said in str(e.value)
    assert "\n" not in str(e.value)
