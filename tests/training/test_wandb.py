"""What Weights & Biases is given, read back from what was written offline."""

# ruff: noqa: ARG001, ARG005  fixtures and stand-ins
from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import wandb_reader

pytest.importorskip("wandb")

import wandb

import components
from components.core.errors import UserError
from components.core.registry import preset, unregister
from components.training.experiment import Job, fit
from components.training.loggers import check_logger
from components.training.task import _training as writing
from components.training.wandb import parts_of


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    """A user without an account: no key in the environment, none in a home folder, no mode chosen."""
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb_config"))
    yield
    wandb.teardown()  # it reads the environment once in a process


@pytest.fixture
def afresh():
    wandb.teardown()


def written(folder: Path) -> wandb_reader.Written:
    (found,) = (folder / "wandb").glob("offline-run-*")
    end = time.time() + 120
    while (read := wandb_reader.read(found)).exit_code is None and time.time() < end:
        time.sleep(0.2)  # wandb's own process writes the last records
    return read


def test_offline_without_a_key(tiny, no_key, monkeypatch, capsys):
    monkeypatch.setattr(writing, "generate", lambda *a, count, **k: ["once upon a time"] * count)
    logger = {"name": "wandb", "project": "tests", "checkpoint": True}
    config = tiny(logger=logger, task={"samples": 2, "prompts": ["once"]}, trainer={"max_steps": 10})
    folders = [fit(Job(config, "first")).folder, fit(Job(config, "second", quiet=True)).folder]
    said = capsys.readouterr().out
    assert said.count("wandb: no API key") == 1
    for folder in folders:  # the second run is a run of its own
        found = written(folder)
        assert found.exit_code == 0
        assert found.config["model"]["attention"]["n_heads"] == 2
        assert found.config["parts"]["attention"] == "gqa"
        train = {h["trainer/global_step"]: h["train_loss"] for h in found.history if "train_loss" in h}
        assert list(train) == [5, 10]
        summary = json.loads((folder / "summary.json").read_text())
        assert train[10] == pytest.approx(summary["train_loss"])
        assert found.summary["val_loss"] == pytest.approx(summary["val_loss"])
        table = found.table("samples")
        assert table["columns"] == ["step", "prompt", "text"]
        assert table["data"] == [[s, "once", "once upon a time"] for s in (5, 5, 10, 10)]
        assert any(h.get("curves", {}).get("_type") == "image-file" for h in found.history)
        assert found.artifacts.count("model") == 1


def test_a_failed_run_is_closed_as_failed(tiny, no_key, monkeypatch):
    def fail(*a, **k):
        raise KeyError("by the test")

    monkeypatch.setattr(writing, "generate", fail)
    config = tiny(logger={"name": "wandb"}, task={"samples": 1})
    with pytest.raises(KeyError):
        fit(Job(config, "tiny", quiet=True))
    (folder,) = Path(config["paths"]["runs"]).glob("tiny/*")
    assert written(folder).exit_code == 1
    assert json.loads((folder / "summary.json").read_text())["state"] == "failed"


def test_a_key_without_a_network_goes_on_offline(tiny, no_key, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    config = tiny(logger={"name": "wandb", "init_timeout": 3}, trainer={"max_steps": 5})
    folder = fit(Job(config, "tiny")).folder
    assert "wandb: no connection" in capsys.readouterr().out
    found = written(folder)
    assert any("train_loss" in h for h in found.history)
    assert "model" not in found.artifacts  # only by option


SHORT = {"max_steps": 5}
OWN = {
    "WANDB_PROJECT": "my-own-project",
    "WANDB_NAME": "my-own-name",
    "WANDB_ENTITY": "my-own-entity",
    "WANDB_RUN_GROUP": "my-own-group",
    "WANDB_TAGS": "my-own-tag,another-tag",
    "WANDB_NOTES": "my-own-notes",
    "WANDB_JOB_TYPE": "my-own-job",
    "WANDB_RUN_ID": "my-own-id",
}


def test_its_own_environment_is_obeyed_and_the_config_goes_before_it(afresh, tiny, no_key, monkeypatch, tmp_path):
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "dryrun")  # its earlier name of offline
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    logger = {"name": "wandb", "project": "said", "tags": ["said-too"]}
    for config, there in (
        (tiny(logger={"name": "wandb"}, trainer=SHORT), set(OWN.values())),
        (tiny(logger=logger, trainer=SHORT), {"said"}),
    ):
        folder = fit(Job(config, "tiny", quiet=True)).folder
        assert not (folder / "wandb").exists()
        (found,) = (tmp_path / "elsewhere" / "wandb").glob("offline-run-*")
        written(tmp_path / "elsewhere")
        held = next(found.glob("*.wandb")).read_bytes()
        for value in there | {"my-own-notes", "my-own-name"}:
            assert all(word.encode() in held for word in value.split(",")), value
        assert (b"my-own-project" in held) == ("said" not in there)
        shutil.rmtree(tmp_path / "elsewhere")


def test_a_run_that_goes_on_goes_on_there_too(tiny, no_key, tmp_path):
    first = fit(Job(tiny(logger={"name": "wandb"}, trainer={"max_steps": 5}), "tiny", quiet=True)).folder
    components.train(None, [f"resume={first}", "trainer.max_steps=10"], quiet=True)
    other = fit(Job(tiny(logger={"name": "wandb"}, trainer={"max_steps": 5}), "tiny", quiet=True)).folder
    ids = [[wandb_reader.run_id(f) for f in (folder / "wandb").glob("offline-run-*")] for folder in (first, other)]
    assert len(ids[0]) == 2
    assert len({*ids[0]}) == 1
    assert ids[1][0] not in ids[0]


@pytest.mark.parametrize(("variable", "value"), [("WANDB_MODE", "bogus"), ("WANDB_RESUME", "perhaps")])
def test_a_variable_that_says_nothing_is_one_line_before_anything_is_made(variable, value, tiny, no_key, monkeypatch):
    monkeypatch.setenv(variable, value)
    config = tiny(logger={"name": "wandb"})
    with pytest.raises(UserError, match=f"{variable}: '{value}' is none of its values; .*, or unset it"):
        fit(Job(config, "tiny", quiet=True))
    assert not Path(config["paths"]["runs"]).exists()
    check_logger({"name": "csv"})


def test_what_it_does_not_take_is_one_line(afresh, tiny, no_key, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "a/b:c")
    with pytest.raises(UserError, match=r"logger: W&B begins no run: Run ID cannot contain"):
        fit(Job(tiny(logger={"name": "wandb"}), "tiny", quiet=True))


def test_parts_by_socket():
    config = {
        "model": {"name": "decoder", "attention": {"name": "gqa", "mask": {"name": "full"}}},
        "seed": 1,
        "data": {"name": "text"},
        "loss": {"name": "next_token", "preset": "smoothed"},
    }
    preset("loss", "smoothed", of="next_token", label_smoothing=0.1)
    parts = {"model": "decoder", "attention": "gqa", "attention_mask": "full", "data": "text"}
    try:
        assert parts_of(config) == {**parts, "loss": "smoothed"}
    finally:
        unregister("loss", "smoothed")


def test_loggers_are_checked_before_anything_is_made(monkeypatch):
    for node, says in (
        ({"name": "wandbb"}, "did you mean 'wandb'"),
        ({"name": "wandb", "projekt": "x"}, "did you mean 'project'"),
        ({"name": "csv", "project": "x"}, "no option 'project'"),
    ):
        with pytest.raises(UserError, match=says):
            check_logger(node)
    monkeypatch.setattr("components.training.loggers.find_spec", lambda name: None)
    with pytest.raises(UserError, match="tensorboard is not installed"):
        check_logger({"name": "tensorboard"})
