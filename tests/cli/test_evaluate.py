"""components evaluate as a user types it: evaluations chosen, changed, printed with their errors, as data, and refused in one line."""

from __future__ import annotations

import json
import random
import re

import pytest
import tiny_recipe

import components
from components.cli import main
from components.cli.complete import candidates

PLACES = ("hill", "lake", "road", "barn", "well", "mill", "gate", "yard", "dam", "inn")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    drawn = random.Random(0)
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.write(folder, patch)
        texts = [f"{i}: the cat is by the {drawn.choice(PLACES)}. A dog was at the {drawn.choice(PLACES)}." for i in range(150)]
        (folder / "text.txt").write_text("\n\n".join(texts))
        options = [
            "data.split_on=blank_lines",
            "model.context_length=64",
            "trainer.max_steps=40",
            "task.validation_fraction=0.3",
        ]
        return components.train("./tiny.yaml", [*options, "task.samples=0"], quiet=True).folder.resolve()


CHOSEN = ["evaluation=[calibration,cloze,{name: minimal_pairs, edits: [is_are, was_were]}]", "evaluation.cloze.band=5"]


def test_figures_stand_below_the_loss_each_with_its_error_and_chance(trained, capsys):
    assert main(["evaluate", str(trained), *CHOSEN]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if not line.startswith(" ")][1:] == ["calibration", "cloze", "minimal pairs"]
    assert re.fullmatch(r"  loss  +\d\.\d{4} nats per token", out[1])
    cloze = out[out.index("cloze") + 1]
    assert re.fullmatch(r"  accuracy +0\.\d{4} ± 0\.\d{4}  of \d+, chance 0\.2", cloze)
    pairs = out[out.index("minimal pairs") + 1 :]
    assert any(re.fullmatch(r"  is are +[01]\.\d{4} ± 0\.\d{4}  of \d+, chance 0\.5", line) for line in pairs), pairs
    assert re.fullmatch(
        r"  expected calibration error +0\.\d{4} ± 0\.\d{4}  of [\d,]+", next(line for line in out if "expected" in line)
    )
    assert main(["evaluate", str(trained)]) == 0
    assert out[:4] == capsys.readouterr().out.splitlines()[:4]


def test_as_data_and_from_python(trained, capsys):
    assert main(["evaluate", str(trained), *CHOSEN, "--json", "--split", "all"]) == 0
    data = json.loads(capsys.readouterr().out)
    nodes = ["calibration", {"name": "cloze", "band": 5}, {"name": "minimal_pairs", "edits": ["is_are", "was_were"]}]
    assert data == components.evaluate(trained, split="all", evaluations=nodes)
    assert data["evaluations"]["minimal_pairs"]["is_are"]["count"] == 150
    assert set(data["evaluations"]["cloze"]["accuracy"]) == {"value", "error", "count", "chance"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluatoin=cloze"], "unknown key 'evaluatoin'; did you mean 'evaluation'"),
        (["harnes=[arc_easy]"], "unknown key 'harnes'; did you mean 'harness'"),
        (["evaluation=clooze"], "unknown evaluation 'clooze'; did you mean 'cloze'"),
        (["evaluation=cloze", "evaluation.cloze.cuont=3"], "did you mean 'count'"),
        (["evaluation=cloze", "evaluation.cloze.band=3"], "band=3 words are too few"),
        (["evaluation=parse_rate"], "evaluation.parse_rate: the data have no rule that judges a text"),
        (["evaluation=[cloze,few_shot]"], "evaluation.few_shot: the data have text, and no examples"),
        (["evaluation=matching"], "evaluation.matching: the split has 0 docstrings of Python functions"),
    ],
)
def test_what_cannot_be_asked_is_one_line(trained, words, said, capsys):
    assert main(["evaluate", str(trained), *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len([line for line in err.splitlines() if line.startswith("error:")]) == 1


def test_training_knows_no_evaluation(capsys):
    assert main(["validate", "recipe=llama_tiny", "evaluation=cloze"]) == 2
    assert "unknown group 'evaluation'" in capsys.readouterr().err


def test_completion():
    assert "evaluation=" in candidates(["evaluate", "auto", "eval"])
    assert candidates(["train", "eval"]) == []
    assert candidates(["evaluate", "auto", "evaluation=c"]) == ["evaluation=calibration", "evaluation=cloze"]
    assert candidates(["evaluate", "auto", "evaluation=[cl"]) == ["evaluation=[cloze"]
    assert candidates(["evaluate", "auto", "evaluation=[cloze,min"]) == ["evaluation=[cloze,minimal_pairs"]
    assert candidates(["evaluate", "auto", "evaluation=[cloze,parse_rate]", "evaluation."]) == [
        "evaluation.cloze.",
        "evaluation.parse_rate.",
    ]
    assert candidates(["evaluate", "auto", "evaluation=cloze", "evaluation.cloze.unit="]) == [
        "evaluation.cloze.unit=sentence",
        "evaluation.cloze.unit=line",
    ]
