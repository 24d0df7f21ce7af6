"""What is typed: an override, or the path of a run, whose name may have ``=`` in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe

from components.cli import main
from components.cli.complete import candidates
from components.cli.explain import subjects
from components.compose.words import is_override


def test_what_is_there_is_no_override(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lr=0.1/tiny").mkdir(parents=True)
    Path("seed=1").touch()
    assert not any(map(is_override, ("lr=0.1/tiny", "lr=0.1", "seed=1", str(tmp_path / "lr=0.1"), "runs/x")))
    assert all(map(is_override, ("seed=2", "+seed=1", "model/norm=rms", "data.path=lr=0.1", "x=" + "y" * 5000, "x=\0")))
    assert subjects(["seed=2", "lr=0.1/tiny", "model/norm=rms", "recipe=a"]) == (
        [("lr=0.1/tiny", ["model/norm=rms"]), ("recipe=a", [])],
        ["seed=2"],
    )


def test_completion_knows_that_the_run_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lr=0.1/tiny").mkdir(parents=True)
    assert "decoding=" in candidates(["generate", "lr=0.1/tiny", "dec"])


@pytest.fixture
def here(tmp_path, monkeypatch):
    return tiny_recipe.write(tmp_path, monkeypatch)


def test_every_command_takes_a_run_whose_path_has_an_equals_sign(here, capsys):
    words = ("trainer.max_steps=2", "task.validation_every=2", "task.samples=0")
    assert main(["train", "recipe=./tiny.yaml", *words, "paths.runs=lr=0.1"]) == 0
    run = str(next((here / "lr=0.1").glob("*/*")).relative_to(here))
    for command in (
        ["explain", run, "--prompt", "a", "--max-new-tokens", "1"],
        ["explain", run, "decoding=greedy", run, "--prompt", "a", "--max-new-tokens", "1"],
        ["generate", run, "--max-new-tokens", "1"],
        ["runs", run, run],
        ["train", f"resume={run}", "trainer.max_steps=3"],
    ):
        assert main(command) == 0, command
        assert "Traceback" not in capsys.readouterr().err
