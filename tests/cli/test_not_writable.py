"""Where nothing can be written every command says so in one line, and what it was asked for beside that is still given."""

# ruff: noqa: ARG001  fixtures
from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe

from components.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tiny_recipe.write(tmp_path, monkeypatch)
    (folder / "file").write_text("")
    return folder


TRAIN = ["train", "recipe=./tiny.yaml", "trainer.max_steps=2", "task.validation_every=2", "task.samples=0"]


def test_nothing_below_a_file_can_be_written(here, capsys):
    assert main(TRAIN) == 0
    run = str(next(Path("runs").glob("*/*")))
    capsys.readouterr()
    for words in (
        ["export", run, "--to", "file/x"],
        ["consolidate", run, "--to", "file/x.safetensors"],
        ["merge", run, run, "--to", "file/x"],
        ["explain", run, "--prompt", "a", "--max-new-tokens", "1", "--out", "file/x.html"],
        ["explain", run, "--prompt", "a", "--max-new-tokens", "1", "--figures", "file/x"],
        [*TRAIN, "paths.runs=file/x"],
        [*TRAIN, "paths.cache=file/x"],
        ["catalogue", "norm", "--to", "file/x"],
        ["new", "norm", "my_own_norm", "--to", "file/x"],
    ):
        assert main(words) == 2, words
        err = capsys.readouterr().err
        assert err.startswith("error: "), (words, err)
        assert err.rstrip().count("\n") == 0, (words, err)
        assert "file/x" in err or "architecture" in err, (words, err)
    assert main(["runs", run, run, "--runs", "file/x"]) == 0
    out, err = capsys.readouterr()
    assert "val loss" in out or "val_loss" in out
    assert err.startswith("note: file/x: cannot be written")
    assert sorted(p.name for p in here.iterdir()) == ["file", "runs", "text.txt", "tiny.yaml"]


def test_samples_that_cannot_be_kept_end_no_training(here, capsys, monkeypatch):
    monkeypatch.setattr("components.training.samples.open_append", lambda _: open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    assert main([*TRAIN, "task.samples=1"]) == 0
    assert "samples: not written (No space left on device)" in capsys.readouterr().err


def test_a_full_disk_is_one_line(here, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("components.core.files.os.replace", full)
    assert main(TRAIN) == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
