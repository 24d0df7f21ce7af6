"""A rank that is stuck or gone ends the run within ``trainer.timeout``, in one line that names it; a signal on any rank stops all after the same step.

The ranks are started from outside, as torchrun starts them. (Ranks that a run starts: test_ranks.py.)
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from components.runs import checkpoints
from components.runs.metrics_file import read_rows

sys.path.insert(0, str(Path(__file__).parent))
import rank_server

COMMON = ["recipe=./tiny.yaml", "trainer.devices=2"]
STRATEGIES, WAYS = ("ddp", "fsdp2"), ("stop", "loop", "kill", "exit")
FEW = [("ddp", "stop", 0), ("fsdp2", "loop", 1)]
REST = [case for case in itertools.product(STRATEGIES, WAYS, (0, 1)) if case not in FEW]


def run_in(folder: Path) -> Path:
    (run,) = (folder / "runs").glob("*/*")
    return run


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error: ")]


# 13 s each: a second to start, eight of waiting, and three for whoever else may say that it has given up
@pytest.mark.parametrize(("strategy", "how", "rank"), [*FEW, *(pytest.param(*case, marks=pytest.mark.slow) for case in REST)])
def test_a_rank_that_is_stuck_or_gone_is_named(strategy, how, rank, server, tmp_path):
    folder = rank_server.write(tmp_path)
    words = [f"trainer.strategy={strategy}", "trainer.timeout=8", f"callbacks.fault={{how: {how}, rank: {rank}}}"]
    ranks = server.ranks(folder, [*COMMON, *words])
    waiting, lost = ranks[1 - rank], ranks[rank]
    assert waiting.ended() == 1
    (line,) = errors(waiting.said)
    what = "does not answer" if how in ("stop", "loop") else "has gone"
    assert re.match(
        rf"error: rank {rank} \(process {lost.pid} on \S+\): {what}, last seen at step \d+ in \S+ \(\S+:\d+\); ", line
    )
    assert "Traceback" not in waiting.said
    assert "frame #" not in waiting.said, "C++ stacks of torch"
    if how == "loop":
        assert "at step 7 in on_train_batch_start (rank_faults.py" in line
    assert checkpoints.read(run_in(folder) / "checkpoints" / "last.ckpt")["global_step"] == 5, "what was saved before is whole"
    if how in ("stop", "loop"):
        os.kill(lost.pid, signal.SIGKILL)  # as torchrun does, thirty seconds later


@pytest.mark.parametrize("how", [pytest.param("loop", marks=pytest.mark.slow), "kill"])
def test_one_of_four_is_named(how, server, tmp_path):
    """Those that its neighbours' ends have cut off, and that say nothing themselves, are not it."""
    folder = rank_server.write(tmp_path)
    words = ["trainer.strategy=ddp", "trainer.timeout=8", f"callbacks.fault={{how: {how}, rank: 2}}", "trainer.devices=4"]
    ranks = server.ranks(folder, [*COMMON, *words], count=4)
    waiting, lost = [*ranks[:2], ranks[3]], ranks[2]
    assert [rank.ended() for rank in waiting] == [1, 1, 1]
    lines = {line for rank in waiting for line in errors(rank.said)}
    assert any(line.startswith(f"error: rank 2 (process {lost.pid} on ") for line in lines), lines
    assert not any("rank 1" in line or "rank 3" in line for line in lines), lines
    if how == "loop":
        os.kill(lost.pid, signal.SIGKILL)


@pytest.mark.slow  # who says what: test_beats.py
def test_ranks_that_wait_for_one_another_say_where(server, tmp_path):
    folder = rank_server.write(tmp_path)
    words = ["trainer.strategy=ddp", "trainer.timeout=8", "callbacks.fault={how: alone, rank: 1}"]
    ranks = server.ranks(folder, [*COMMON, *words])
    assert [rank.ended() for rank in ranks] == [1, 1]
    (line,) = [line for rank in ranks for line in errors(rank.said)]
    assert line.startswith("error: all ranks: wait for one another: rank 0 at step 7 in ")
    assert re.search(r"rank 1 at step 7 in recv \(\S+:\d+\)", line)


SIGNALS = [("ddp", "SIGTERM", "one"), ("ddp", "SIGUSR1", "all"), ("fsdp2", "SIGTERM", "all"), ("fsdp2", "SIGUSR1", "one")]
OTHERS = [case for case in itertools.product(STRATEGIES, ("SIGTERM", "SIGUSR1"), ("one", "all")) if case not in SIGNALS]


# 3 s each
@pytest.mark.parametrize(
    ("strategy", "name", "whom"), [*SIGNALS, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)]
)
def test_a_signal_stops_all_ranks_after_the_same_step(strategy, name, whom, server, tmp_path):
    """SIGUSR1 is SLURM's, whose ``scontrol`` is a stand-in: it is asked once, by the first rank, after the run is saved."""
    folder = rank_server.write(tmp_path / "run")
    asked, tool = folder / "asked", tmp_path / "bin" / "scontrol"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nls {folder}/runs/*/*/checkpoints >> {asked}\n')
    tool.chmod(0o755)
    slurm = {"SLURM_JOB_ID": "77", "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    words = [*COMMON, f"trainer.strategy={strategy}", "trainer.max_steps=100000", "trainer.log_every_n_steps=1"]
    ranks = server.ranks(folder, words, **(slurm if name == "SIGUSR1" else {}))
    until = time.monotonic() + 120
    while not (found := [*folder.glob("runs/*/*/checkpoints/last.ckpt")]):
        assert time.monotonic() < until, ranks[0].said
        time.sleep(0.02)
    for rank in ranks if whom == "all" else ranks[1:]:
        os.kill(rank.pid, signal.Signals[name])
    assert [rank.ended() for rank in ranks] == [75, 75], ranks[0].said + ranks[1].said
    saved = checkpoints.read(found[0])["global_step"]
    run = run_in(folder)
    assert max(row["step"] for row in read_rows(run / "metrics.csv")) == saved, "no rank has gone on"
    assert json.loads((run / "summary.json").read_text())["state"] == "preempted"
    assert not errors(ranks[0].said + ranks[1].said)
    assert asked.exists() == (name == "SIGUSR1")
    if name == "SIGUSR1":
        assert asked.read_text().splitlines()[0] == "requeue 77"
        assert "last.ckpt" in asked.read_text()
    if (name, whom) != ("SIGTERM", "one"):
        return  # going on is the same for all
    again = server.ranks(folder, ["resume=auto", "trainer.devices=2", f"trainer.max_steps={saved + 2}"])
    assert [rank.ended() for rank in again] == [0, 0], again[0].said
    assert checkpoints.read(found[0])["global_step"] == saved + 2
