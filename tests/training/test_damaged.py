"""A damaged run folder is one line that names the file, wherever it is met, and never another run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_runs import make_tiny

import components
from components.cli import main
from components.core.errors import UserError
from components.runs import checkpoints, run_files
from components.runs.metrics_file import read_rows
from components.training.experiment import Job, fit


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    config = make_tiny(tmp_path_factory.mktemp("run"))(trainer={"max_steps": 5})
    return fit(Job(config, "tiny", quiet=True)).folder


@pytest.fixture
def copy(trained, tmp_path, monkeypatch) -> Path:
    """The run, to be damaged, under ./runs."""
    import shutil

    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, Path("runs") / "tiny" / trained.name))


CONFIGS = [b"", b"{}", b"[]", b"model: {name: decoder}", b"model: \xe9t\xe9", b"model: [", b"null"]


@pytest.mark.parametrize("content", CONFIGS)
def test_a_damaged_config_trains_nothing(copy, capsys, content):
    (copy / "config.yaml").write_bytes(content)
    before = {f: f.read_bytes() for f in copy.rglob("*") if f.is_file()}
    assert main(["train", f"resume={copy}", "trainer.max_steps=7"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "config.yaml" in error
    assert {f: f.read_bytes() for f in copy.rglob("*") if f.is_file()} == before


@pytest.mark.parametrize(
    ("file", "content"),
    [("run.json", "[]"), ("run.json", '{"began": null}'), ("run.json", "{"), ("summary.json", "[1]"), ("summary.json", "\x00")],
)
def test_the_list_of_runs_says_which_is_damaged(copy, capsys, file, content):
    (copy / file).write_text(content)
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert "damaged" in out
    assert file in out
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "damaged"
    if file == "run.json":
        assert main(["train", f"resume={copy}", "trainer.max_steps=7"]) == 2
        assert "run.json" in capsys.readouterr().err
    else:
        with pytest.raises(UserError, match=r"summary\.json"):
            run_files.read_summary(copy)


def test_a_damaged_table(copy, capsys):
    table = copy / "metrics.csv"
    for content, says in (
        (table.read_text() + "6,x,,,,,,,,\n", "line 3.*'x' is not a number"),
        ("a,b\n1,2\n", "no column step"),
        ("", "no column step"),
    ):
        table.write_text(content)
        with pytest.raises(UserError, match=says):
            read_rows(table)
    assert main(["train", f"resume={copy}", "trainer.max_steps=7"]) == 2
    assert "metrics.csv" in capsys.readouterr().err
    assert json.loads((copy / "run.json").read_text()).get("resumed") is None


def test_without_run_json_there_is_nothing_to_go_on_with(copy, capsys):
    (copy / "run.json").unlink()
    assert main(["train", f"resume={copy / 'checkpoints' / 'last.ckpt'}", "trainer.max_steps=7"]) == 2
    assert "init_from=" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["schema", "config", "tokenizer", "state_dict", "global_step", "components"])
def test_a_checkpoint_that_lacks_something(copy, lost):
    file = copy / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    if lost == "components":
        checkpoint["components"] = {}
    else:
        (checkpoint["components"] if lost in checkpoint["components"] else checkpoint).pop(lost)
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match="is damaged: it ") as refused:
        checkpoints.read(file)
    assert lost in str(refused.value) or lost in ("components", "config")
    with pytest.raises(UserError):
        components.load(copy)
