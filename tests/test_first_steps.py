"""What a newcomer meets first in Python and on the command line says what it is, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import components
from components.cli import main
from components.core.errors import UserError
from components.core.sockets import SequenceInfo
from components.training import finalize

POSITIONS = ("rope", "alibi", "t5_bias", "fire", "log_temperature", "xpos", "rope_2d", "kerple", "transformer_xl")


def test_the_whole_interface_is_listed_and_typed():
    assert set(components.__all__) <= set(dir(components))
    assert (Path(components.__file__).parent / "py.typed").is_file()
    text = Path(components.__file__).read_text()
    for name in components._PUBLIC:
        assert f" import {name} as {name}\n" in text, "an editor reads the same names"


@pytest.mark.parametrize("position", POSITIONS)
def test_a_part_called_without_positions_says_so(position):
    options = {"n_heads": 2, "position": position}
    try:
        part = components.build("attention", "gqa", d_model=16, **options)
    except UserError as e:
        pytest.skip(str(e))
    with pytest.raises(ValueError, match=r"no positions: SequenceInfo.of\(Batch\(ids\), causal=True\)"):
        part(torch.randn(1, 4, 16), SequenceInfo())


def test_an_empty_path_is_no_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["validate", "recipe=llama_tiny", "data=text", "data.path="]) == 2
    assert "data.path: '' names no file" in capsys.readouterr().err


@pytest.mark.parametrize("inside", [False, True])
def test_a_path_at_which_nothing_is_is_not_valid(monkeypatch, tmp_path, capsys, inside):
    monkeypatch.chdir(tmp_path)
    words = ["data=text", "data.path=book.txt"]
    if inside:
        words = ["data=mixed", "data.parts=[{name: text, path: book.txt}]", "data.weights=[1.0]"]
    assert main(["validate", "recipe=llama_tiny", *words]) == 2
    said = capsys.readouterr().err
    assert (
        "there is no such file or folder; a path on the command line is relative to this folder, one in a recipe's file" in said
    )
    (tmp_path / "book.txt").write_text("words")
    assert main(["validate", "recipe=llama_tiny", *words]) == 0


def test_names_and_figures_stand_apart():
    lines = finalize.table({"state": "finished", "val_root_mean_squared_error": 0.0009374, "val_loss": 1.0}).splitlines()
    assert any(line.split() == ["validation", "root", "mean", "squared", "error", "0.0009374"] for line in lines)
    assert len({len(line) - len(line.rsplit(None, 1)[1]) for line in lines if line.strip()}) == 1, "one column"


def test_counted_with_which_vocabulary(capsys):
    assert main(["show", "recipe=known/llama3_1_8b"]) == 0
    assert "the parameters above are counted with it" in capsys.readouterr().out
