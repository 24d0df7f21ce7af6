"""A run that goes on is one run for W&B: the same id, rows that follow one another, and none twice."""

# ruff: noqa: ARG001  fixtures
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wandb_reader

pytest.importorskip("wandb")

import wandb
from wandb_server import Server

from components.core.errors import UserError
from components.runs import resume
from components.training import progress
from components.training.experiment import Job, fit
from components.training.sent import Sent

EVERY = {"max_steps": 12, "log_every_n_steps": 1}
STEP = "trainer/global_step"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    wandb.teardown()  # it reads the environment once in a process
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch, tmp_path):
    wandb.teardown()
    made = Server()
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name, value in {"WANDB_BASE_URL": made.url, "WANDB_API_KEY": "0" * 40, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    yield made
    wandb.teardown()
    made.http.shutdown()


def killed(config, monkeypatch, at: int) -> Path:
    """A run that ends without a word after its row of step ``at``; its last checkpoint is of step 5."""
    give = progress.Recorder.give

    def fail(self, trainer, step, *rest):
        give(self, trainer, step, *rest)
        if step == at:
            raise KeyError("by the test")

    with monkeypatch.context() as m:
        m.setattr(progress.Recorder, "give", fail)
        with pytest.raises(KeyError):
            fit(Job(config, "tiny", quiet=True))
    (folder,) = Path(config["paths"]["runs"]).glob("tiny/*")
    return folder


def go_on(folder: Path, config) -> None:
    fit(Job(config, resumed=resume.Resumed(folder, folder / "checkpoints" / "last.ckpt", config), quiet=True))


def parts(folder: Path) -> list[wandb_reader.Written]:
    return wandb_reader.read_all(folder)


def steps(history, figure: str) -> list[int]:
    return [row[STEP] for row in history if figure in row]


def whole(history, last: int = 12) -> None:
    """Every step is there once, in order, and W&B's own count of rows goes on."""
    assert steps(history, "train_loss") == list(range(1, last + 1))
    assert steps(history, "val_loss") == [5, 10, 12][: 3 if last == 12 else 4]
    rows = [row["_step"] for row in history]
    assert rows == sorted(set(rows))


def test_offline_a_killed_run_is_continued_and_sent_as_one(tiny, offline, server, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = tiny(logger={"name": "wandb"}, trainer=EVERY)
    folder = killed(config, monkeypatch, at=8)
    go_on(folder, config)
    first, second = parts(folder)
    assert first.run_id == second.run_id == Sent.of(folder, "wandb").run
    assert steps(first.history, "train_loss") == list(range(1, 9))
    whole([*first.history, *second.history])
    wandb.teardown()
    env = {n: v for n, v in os.environ.items() if n != "WANDB_MODE"}
    sync = [sys.executable, "-m", "wandb", "sync", str(folder / "wandb")]
    done = subprocess.run(sync, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (held,) = server.runs.values()
    whole(held.history)


def test_online_it_is_resumed(tiny, server, monkeypatch):
    config = tiny(logger={"name": "wandb"}, trainer=EVERY)
    folder = killed(config, monkeypatch, at=8)
    (held,) = server.runs.values()
    assert steps(held.history, "train_loss") == list(range(1, 9))
    go_on(folder, config)
    assert list(server.runs) == [held.name]
    whole(held.history)
    assert held.config["parts"]["value"]["attention"] == "gqa"


def test_begun_offline_it_goes_on_online_and_what_is_sent_later_is_in_its_place(tiny, offline, server, monkeypatch):
    config = tiny(logger={"name": "wandb"}, trainer=EVERY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = killed(config, monkeypatch, at=8)
    monkeypatch.delenv("WANDB_MODE")
    wandb.teardown()
    go_on(folder, config)
    (held,) = server.runs.values()
    assert held.name == Sent.of(folder, "wandb").run
    assert steps(held.history, "train_loss") == [9, 10, 11, 12]
    (first,) = parts(folder)
    whole([*first.history, *held.history])


def test_a_moved_run_goes_on_and_a_copy_is_another_one(tiny, offline, monkeypatch, tmp_path):
    config = tiny(logger={"name": "wandb"}, trainer=EVERY)
    folder = killed(config, monkeypatch, at=8)
    run = Sent.of(folder, "wandb").run
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    go_on(copy, config)
    assert Sent.of(copy, "wandb").run not in (run, None)
    *_, last = parts(copy)
    assert last.config["copied_from"] == run
    assert steps(last.history, "train_loss") == list(range(6, 13)), "another run has none of the rows that were sent"
    moved = folder.rename(tmp_path / "elsewhere")
    go_on(moved, config)
    assert Sent.of(moved, "wandb").run == run
    first, second = parts(moved)
    whole([*first.history, *second.history])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]\n",
        '{"run": "../x", "folder": "/"}\n',
        '{"run": "a", "folder": "/"}\n[3, 1, 1]\n',
        '{"run": "a", "folder": "/"}\n{}\n',
    ],
)
def test_a_damaged_list_is_one_line(tmp_path, text):
    (tmp_path / "wandb.sent.jsonl").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        Sent.of(tmp_path, "wandb")


def test_what_was_sent_is_read_back_also_without_its_last_line(tmp_path):
    sent = Sent.of(tmp_path, "x")
    sent.begin("abc")
    sent.note(["loss", "lr"], 1, 1)
    sent.note(["val_loss"], 1, 2)
    sent.note(["loss", "val_loss"], 0, 2)
    sent.note(["val_loss"], 1, 2)
    sent.note(["loss", "lr"], 2, 3)
    with (tmp_path / "x.sent.jsonl").open("a") as f:
        f.write("[0, 3")
    again = Sent.of(tmp_path, "x")
    for _ in range(2):  # as it was written, and as it is written anew
        assert (again.run, again.rows) == ("abc", 3)
        assert again.fresh(["loss", "lr", "val_loss"], 2) == ["val_loss"]
        assert again.fresh(["loss"], 3) == ["loss"]
        again.begin("abc")
        again = Sent.of(tmp_path, "x")
    again.begin("other")
    assert Sent.of(tmp_path, "x").fresh(["loss"], 1) == ["loss"]
    assert json.loads((tmp_path / "x.sent.jsonl").read_text().splitlines()[0])["run"] == "other"
