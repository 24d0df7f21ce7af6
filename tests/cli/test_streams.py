"""Commands in terminals, pipes and folders that are not ours: what is printed, what is typed, and what files are called."""

# ruff: noqa: ARG001  fixtures
from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import tiny_recipe

import components
from components.cli import main
from components.core.errors import UserError

pytestmark = pytest.mark.usefixtures("warm_processes")

BYTES = b"caf\xe9".decode("utf8", "surrogateescape")
AT_ONCE = ("trainer.max_steps=4", "task.validation_every=2")


@pytest.fixture
def here(tmp_path, monkeypatch):
    return tiny_recipe.write(tmp_path, monkeypatch)


def newest() -> Path:
    return max(Path("runs").glob("tiny/*"), key=lambda f: f.stat().st_ctime_ns)


def state() -> str:
    assert (newest() / "checkpoints" / "last.ckpt").exists()
    return json.loads((newest() / "summary.json").read_text())["state"]


def error(capsys) -> str:
    """The one line on stderr."""
    err = capsys.readouterr().err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    return err


def closed_pipe() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf8")


def full_disk() -> io.TextIOWrapper:
    return open("/dev/full", "w")


def console() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict")


@pytest.mark.parametrize("made", [console, closed_pipe, full_disk, lambda: None])
def test_a_training_goes_on_whatever_is_behind_its_output(made, here, monkeypatch):
    out = made()
    monkeypatch.setattr(sys, "stdout", out)
    trained = components.train("./tiny.yaml", AT_ONCE)  # as from a script or a notebook
    monkeypatch.undo()
    with suppress(OSError):
        (out or io.StringIO()).close()
    assert trained.figures["step"] == 4
    os.chdir(here)
    assert state() == "finished"


def command(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "components", *words], stderr=subprocess.PIPE, timeout=120, **more)


def test_the_same_from_the_command_line(here):
    with open("/dev/full", "w") as full:
        ended = command("train", "recipe=./tiny.yaml", *AT_ONCE, stdout=full)
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert b"output: cannot be written (No space left on device)" in ended.stderr
    assert state() == "finished"


def test_a_full_disk_behind_a_list_is_one_line():
    with open("/dev/full", "w") as full:
        ended = command("list", stdout=full)
    assert ended.returncode == 2
    assert ended.stderr.decode().splitlines() == [
        "error: output: cannot be written (No space left on device); make room, or send it elsewhere"
    ]


def test_a_list_whose_reader_has_left_ends_well():
    with closed_pipe() as pipe:
        ended = command("list", stdout=pipe)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_what_is_typed_is_text_or_one_line(here, capsys, monkeypatch):
    assert main(["train", "recipe=./tiny.yaml", *AT_ONCE, "task.samples=0"]) == 0
    run = str(newest())
    capsys.readouterr()
    for words in (
        ["generate", run, "--prompt", BYTES],
        ["generate", run, "--prompt", "a", "--stop", BYTES],
        ["explain", run, "--prompt", BYTES],
        ["chat", run, "--system", BYTES],
        ["train", "recipe=./tiny.yaml", f'task.prompts=["{BYTES}"]'],
    ):
        assert main(words) == 2
        assert "is no UTF-8: byte 0xe9 at character 4" in (said := error(capsys)) or "character 1" in said
    loaded = components.load(run)
    for asked in (lambda: loaded.generate(BYTES), lambda: loaded.generate("a", stop=[BYTES]), lambda: loaded.score(BYTES)):
        with pytest.raises(UserError, match="is no UTF-8"):
            asked()


def test_a_file_whose_name_is_no_utf8_is_read(here, capsys):
    name = f"{BYTES}.txt"
    Path("text.txt").rename(name)
    Path("tiny.yaml").rename(f"{BYTES}.yaml")
    assert main(["train", f"recipe=./{BYTES}.yaml", f"data.path={name}", *AT_ONCE, f"paths.cache={BYTES}"]) == 0
    run = max(Path("runs").glob("*/*"))
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0  # the name comes back from the checkpoint's config
    assert main(["train", f"resume={run}", "trainer.max_steps=5"]) == 0  # and from config.yaml
    assert main(["generate", str(run), "--score", name]) in (0, 2)
    capsys.readouterr()


def test_runs_go_where_pytorch_can_open_them(here, capsys):
    assert main(["train", "recipe=./tiny.yaml", f"paths.runs={BYTES}"]) == 2
    assert "paths.runs" in error(capsys)
    assert not Path(BYTES).exists()
