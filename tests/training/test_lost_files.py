"""What a run meets on its disk in the middle: no room, a folder that is away, data that have vanished, a reader that dies. One line, and what was saved stays."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from components.runs import checkpoints

sys.path.insert(0, str(Path(__file__).parent))
import rank_server

FAULT = ["recipe=./tiny.yaml", "trainer.max_steps=12", "paths.cache=cache"]


def train(server, folder, how, *words, count=1):
    """The run in which it happens at step 7, and its ranks' exit codes."""
    rank_server.write(folder)
    ranks = server.ranks(folder, [*FAULT, f"callbacks.fault={{how: {how}}}", f"trainer.devices={count}", *words], count=count)
    return ranks, [rank.ended() for rank in ranks]


def last(folder: Path) -> Path:
    (run,) = (folder / "runs").glob("*/*")
    return run / "checkpoints" / "last.ckpt"


def complaints(rank):
    return [line for line in rank.said.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("strategy", ["auto", pytest.param("ddp", marks=pytest.mark.slow), "fsdp2"])
def test_a_full_disk(strategy, server, tmp_path):
    """All ranks end alike; the half-written file takes no room."""
    ranks, codes = train(server, tmp_path, "full", f"trainer.strategy={strategy}", count=1 if strategy == "auto" else 2)
    assert codes == [2] * len(ranks), ranks[0].said
    for rank in ranks:
        (line,) = complaints(rank)
        assert "last.ckpt: cannot be written (File too large)" in line
        assert "Traceback" not in rank.said
    assert checkpoints.read(last(tmp_path))["global_step"] == 5
    assert {f.name for f in last(tmp_path).parent.iterdir()} == {"last.ckpt", "best.ckpt"}
    again = server.ranks(tmp_path, ["resume=auto", "trainer.devices=1", "callbacks.fault.at=-1"], count=1)
    assert [rank.ended() for rank in again] == [0], again[0].said
    assert checkpoints.read(last(tmp_path))["global_step"] == 12


def test_a_folder_that_is_away(server, tmp_path):
    ranks, codes = train(server, tmp_path, "blocked")
    assert codes == [2], ranks[0].said
    (line,) = complaints(ranks[0])
    assert "checkpoints" in line
    assert "cannot be written" in line
    assert checkpoints.read(tmp_path / "moved" / "last.ckpt")["global_step"] == 5


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_data_that_vanish_are_held_until_the_end(workers, server, tmp_path):
    """They are mapped, and a mapped file is there as long as somebody maps it."""
    ranks, codes = train(server, tmp_path, "vanished", f"task.num_workers={workers}")
    assert codes == [0], ranks[0].said
    assert checkpoints.read(last(tmp_path))["global_step"] == 12


def test_a_reader_that_dies(server, tmp_path):
    ranks, codes = train(server, tmp_path, "reader", "task.num_workers=1")
    assert codes == [2], ranks[0].said
    (line,) = complaints(ranks[0])
    assert line.startswith("error: task.num_workers: a process that reads ahead is gone")
    assert checkpoints.read(last(tmp_path))["global_step"] == 5
