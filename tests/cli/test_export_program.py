"""``components export RUN --to NAME.pt2``: a file whole or none, the tokenizer beside it, and one line for what cannot be. Of ONNX: docs/how_to/serve.md."""

# ruff: noqa: ARG001  fixtures
from __future__ import annotations

from pathlib import Path

import pytest
import tiny_recipe
import torch
from tokenizers import Tokenizer

import components
from components.cli import main
from components.core.errors import UserError
from components.core.sockets import Batch
from components.runs import program_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("program")
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.write(made, patch)
        words = ["recipe=./tiny.yaml", "trainer.max_steps=1", "task.samples=0", "adapter=lora", "paths.runs=runs"]
        components.train(overrides=words, quiet=True)
    return made


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def test_the_file_gives_the_runs_logits(here, capsys):
    assert main(["export", "auto", "--to", "made/model.pt2"]) == 0
    said = capsys.readouterr().out
    assert "takes ids (batch, length), int64, of at most 16 positions" in said
    program, loaded = torch.export.load("made/model.pt2").module(), components.load("auto")
    ids = torch.tensor([Tokenizer.from_file("made/tokenizer.json").encode("the tree").ids] * 3)
    with torch.no_grad():
        torch.testing.assert_close(program(ids), loaded.model(Batch(ids)), rtol=1e-5, atol=1e-5)
    assert f"logits (batch, length, {program(ids).shape[-1]})" in said
    assert not [n for n, _ in program.named_parameters() if "lora" in n]  # the adapter is in the weights
    before = {p.name: p.read_bytes() for p in Path("made").iterdir()}
    assert main(["export", "auto", "--to", "made/other.pt2"]) == 2  # its tokenizer's place is taken
    assert "is there already" in capsys.readouterr().err
    assert before == {p.name: p.read_bytes() for p in Path("made").iterdir()}


def test_nothing_half_written_stays(here, monkeypatch, capsys):
    def full(made: object, stream: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(program_file, "write_program", full)
    assert main(["export", "auto", "--to", "half/model.pt2"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in said
    assert not list(Path("half").iterdir())


def test_an_adapter_is_no_program(here, capsys):
    assert main(["export", "auto", "--adapter", "--to", "new/model.pt2"]) == 2
    assert "writes PEFT's folder" in capsys.readouterr().err
    assert not Path("new").exists()


def test_a_refusal_names_the_run_and_writes_nothing(here, monkeypatch, capsys):
    def refused(*_: object) -> None:
        raise UserError("run", "stack.norm (Branching) cannot be exported: it looks at its numbers")

    monkeypatch.setattr(program_file, "program_of", refused)
    assert main(["export", "auto", "--to", "new/model.pt2"]) == 2
    assert "stack.norm (Branching)" in capsys.readouterr().err
    assert not Path("new").exists()
