"""What somebody types who sees the library for the first time: a wrong name, place, file or device. One line says what instead, before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import components
from components.cli import main
from components.core.errors import UserError, cut
from components.runs.run_folder import require_place

TINY = ["recipe=llama_tiny", "model.d_model=16", "model.n_layers=1", "model.attention.n_heads=2", "task.batch_size=2"]
SHORT = ["tokenizer=byte", "trainer.max_steps=1", "task.samples=0", "task.validation_batches=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text and a run."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "book.txt").write_text("\n\n".join(f"Line {i} of a small book, which says little." for i in range(200)))
    data = ["data=text", f"data.path={folder / 'book.txt'}", f"paths.runs={folder / 'runs'}"]
    components.train(overrides=[*TINY, *SHORT, *data], quiet=True)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def refused(capsys, *words: str) -> str:
    """The one line of an error, of a command that has printed nothing else."""
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["decoding.samplers=[{name: temperature, value: 0}]"], "use decoding=greedy"),
        (["--stop", ""], "an empty text is found everywhere"),
        (["--target", "y"], "put it into the prompt"),
        (["--device", "gpu"], "device: 'gpu' is not here; use cpu"),
    ],
)
def test_a_refused_text_prints_nothing_of_it(capsys, words, says):
    assert says in refused(capsys, "generate", "auto", "--prompt", "the beginning", *words)


@pytest.mark.usefixtures("here")
def test_a_text_still_begins_with_its_prompt(capsys):
    assert main(["generate", "auto", "decoding=greedy", "--prompt", "Line 1", "--max-new-tokens", "3"]) == 0
    whole = components.load("auto", ["decoding=greedy"]).generate("Line 1", max_new_tokens=3)
    assert capsys.readouterr().out == f"{whole}\n"
    assert whole.startswith("Line 1")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "gqa"], "did you mean attention/gqa?"),
        (["show", "llama_tiny"], "did you mean recipe=llama_tiny?"),
        (["show", "known/llama3_8b"], "did you mean recipe=known/llama3_8b?"),
        (["show", "none"], "or norm/none or position/none"),
        (["check", "gqa"], "did you mean attention/gqa?"),
        (["train", "recipe=book.txt"], "recipe: book.txt is no YAML file; a recipe is a name or a YAML file's path"),
        (["train", "recipe=runs"], "recipe: runs is a folder; a recipe is"),
        (["train", "data=text"], "data.path=path: a file, a folder"),
        (["runs", "--runs", "nowhere"], "--runs: there is no folder nowhere"),
        (["runs", "--runs", "book.txt"], "--runs: there is no folder book.txt"),
        (["import", "book.txt", "--to", "runs/mine"], "book.txt: is no checkpoint"),
        (["export", "auto", "--to", "mine.onx"], "did you mean mine.onnx?"),
        (["export", "auto", "--to", "mine.guf"], "did you mean mine.gguf?"),
        (["export", "auto", "--to", "mine.safetensors"], "name a folder"),
        (["explain", "auto", "--prompt", "x", "--out", "nowhere/page.html"], "make its folder first"),
        (["explain", "auto", "--prompt", "x", "--out", "runs"], "name a file in it"),
        (["explain", "auto", "--prompt", "x", "--figures", "book.txt"], "it is a file: name a folder"),
    ],
)
def test_a_wrong_name_is_one_line(here, capsys, words, says):
    before = sorted(here.rglob("*"))
    assert says in refused(capsys, *words)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["scale", "size=4", "dry"], "size: unknown word; did you mean 'sizes'? words: "),
        (["scale", "sizes=4", "dri"], "dri: is no word of the command; did you mean dry?"),
        (["ablate", "model/norm=rms,layer", "metrics=val_loss"], "did you mean 'metric'?"),
        (["ablate", "model/norm=rms,layer", "desing=grid"], "desing: unknown word; did you mean 'design'?"),
        (["ablate", "model/norm=rms,layr", "dry"], "model.norm: unknown norm 'layr'; did you mean 'layer'?"),
        (["prepare", "worker=4"], "worker: unknown word; did you mean 'workers'?"),
        (["prepare", "workers=4", "workers=2"], "workers: is given twice"),
    ],
)
def test_a_word_of_a_command_is_mistyped(here, capsys, words, says):
    assert says in refused(capsys, words[0], "recipe=llama_tiny", *words[1:])
    assert not (here / "runs" / "studies").exists()


@pytest.mark.parametrize(
    "words", [["list", "attention"], ["list", "logger"], ["show", "data/text"], ["show", "attention/stochastic"]]
)
def test_a_terminal_shows_no_marks_of_a_page(capsys, words):
    assert main(words) == 0
    assert "``" not in capsys.readouterr().out


def test_a_project_without_runs_is_no_mistake(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "no runs in runs\n"


def test_text_of_another_encoding_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("latin.txt").write_bytes("\n\n".join(f"caf\xe9 {i}" for i in range(50)).encode("latin-1"))
    assert main(["train", *TINY, *SHORT, "data=text", "data.path=latin.txt"]) == 2
    assert capsys.readouterr().err.endswith("latin.txt:1 (byte 0xe9)); save the text as UTF-8\n")
    assert not Path("runs").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("runs", ["book.txt", "book.txt/deeper"])
def test_a_place_for_runs_is_asked_before_the_data_are_read(capsys, runs):
    assert main(["train", *TINY, *SHORT, "data=text", "data.path=book.txt", "seed=5", f"paths.runs={runs}"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: paths.runs: ")
    assert "(Not a directory); set paths.runs to a folder that can be written" in err
    assert "documents read" not in out


def test_a_part_that_is_built_alone_says_which_sizes_it_takes():
    with pytest.raises(UserError, match=r"^norm/rms needs the size dim, .*; built alone, it takes dim=\.\.\.$"):
        components.build("norm", "rms")
    with pytest.raises(UserError, match=r"it takes d_model=\.\.\.$"):
        components.build("attention", "gqa", n_heads=2, position="none")


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    require_place(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    with pytest.raises(UserError, match="Permission denied"):
        require_place(tmp_path / "runs" / "deeper")


def test_a_long_list_is_cut_between_its_names():
    names = [f"a_rather_long_name_{i}" for i in range(40)]
    line = ", ".join(names)
    for most in range(80, 300, 7):
        short = cut(line, most)
        assert len(short) <= most
        assert all(name in names for name in short.replace(", [...] ", ", ").replace(" [...] ", ", ").split(", ")), short
    path = "x" * 200
    assert len(cut(path, 100)) == 100, "a word longer than a name is cut in the middle"
