"""``components prepare``: what it says, what it leaves, and that training finds it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tiny_recipe

from components.cli import main
from components.cli.complete import candidates
from components.corpus import shards, work

WORDS = ["prepare", "recipe=tiny.yaml", "paths.cache=cache"]


@pytest.fixture
def _tiny(tmp_path, monkeypatch):
    tiny_recipe.write(tmp_path, monkeypatch)


@pytest.fixture
def _small_shards(monkeypatch):
    """Shards of a few documents, so that there are several of them."""
    monkeypatch.setattr(work.Asked.__init__, "__defaults__", (None, None, 1000))
    monkeypatch.setattr(shards, "SIZE", 1000)


@pytest.mark.usefixtures("_tiny")
def test_it_says_what_it_made_and_where_and_training_finds_it(capsys):
    assert main(WORDS) == 0
    out = capsys.readouterr().out
    tokens = int(
        re.search(r"^([\d,]+) tokens: [\d,]+ train, [\d,]+ validation, [\d,]+ test; vocabulary 261$", out, re.M)[1].replace(
            ",", ""
        )
    )
    assert tokens > 4000
    assert re.search(r"^made in \d+\.\d s, [\d,]+ tokens a second", out, re.M)
    made, folder = re.search(r"^hash (\w{32}), in (\S+)$", out, re.M).groups()
    assert (Path(folder) / "train.npy").is_file()
    assert main([*WORDS, "workers=2"]) == 0
    again = capsys.readouterr().out
    assert "all was there already" in again
    assert made in again
    assert main(["train", *WORDS[1:], "trainer.max_steps=1", "trainer.enable_progress_bar=false"]) == 0
    run = next(Path("runs").glob("*/*/run.json"))
    assert json.loads(run.read_text())["data"]["hash"] == made
    assert len([*Path("cache/tokens").iterdir()]) == 1


@pytest.mark.usefixtures("_tiny", "_small_shards")
def test_shares_one_after_another(capsys):
    assert main([*WORDS, "paths.cache=whole"]) == 0
    expected = re.search(r"^hash (\w+)", capsys.readouterr().out, re.M)[1]
    said = []
    for _ in range(2):
        for share in ("2/2", "1/2"):
            assert main([*WORDS, "workers=1", f"shard={share}"]) == 0
            said.append(capsys.readouterr().out)
    assert re.match(r"shard 2/2 is done; 3 of 6 pieces of the data are read\nwhen all are", said[0])
    assert re.match(r"shard 1/2 is done; \d+ of \d+ pieces of the data are tokenised", said[1])
    assert f"hash {expected}" in said[2], "with the other half it is whole"
    assert "all was there already" in said[3]


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["workers=0"], "error: workers: '0' is no number of processes; workers=8"),
        (["workers=many"], "error: workers: 'many' is no number of processes"),
        (["shard=4/3"], "error: shard: '4/3' is no share of the data; shard=1/64 to shard=64/64"),
        (["shard=0/3"], "error: shard: '0/3' is no share"),
        (["worker=3"], "error: worker: unknown word; did you mean 'workers'?"),
        (["data.path=none.txt"], "error: data.path: "),
    ],
)
def test_a_mistake_is_one_line(capsys, words, line):
    assert main([*WORDS, *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert not Path("cache").exists()


def test_help_and_completion(capsys):
    assert main(["prepare", "workers=2", "shard=1/2", "--help"]) == 0
    assert "shard=I/N" in capsys.readouterr().out
    assert candidates(["prepare", "wor"]) == ["workers="]
    assert candidates(["prepare", "workers=2", "shard=1/2", "recipe=gpt_py"]) == ["recipe=gpt_python"]
    assert candidates(["prepare", "shard="]) == []
    assert "workers=" not in candidates(["train", "wor"])


def test_a_recipe_of_examples_is_prepared_as_well(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "recipe=ladder/01_leaf_flower", "paths.cache=cache"]) == 0
    assert re.search(r"hash \w{32}, in \S*cache/examples/", capsys.readouterr().out)


@pytest.mark.usefixtures("_tiny")
def test_an_error_stands_alone_where_no_terminal_is(capsys):
    """What was read before it is not told: a script that keeps stderr finds one line."""
    Path("one.txt").write_text("a single document")
    assert main([*WORDS, "data=text", "data.path=one.txt", "tokenizer=byte"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "leave the validation split empty" in line
