"""Two ranks log as one: one W&B run, which goes on under another strategy, and norms that are those of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import wandb_reader

pytest.importorskip("wandb")

import components
from components.runs import run_folder
from components.runs.metrics_file import read_rows
from components.training import ranks
from components.training.sent import Sent

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from tiny_recipe import write

pytestmark = pytest.mark.usefixtures("warm_processes")

RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", run_folder.FOLDER, ranks.FIRST, ranks.RUN)
WORDS = [
    "recipe=./tiny.yaml",
    "task.samples=0",
    "callbacks.norms=true",
    "trainer.log_every_n_steps=1",
    "trainer.precision=64-true",
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    return write(tmp_path, monkeypatch)


def train(*words: str) -> None:
    env = {n: v for n, v in os.environ.items() if n not in RANKS} | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    process = subprocess.Popen(
        [sys.executable, "-m", "components", "train", *words],
        **{"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True},
    )
    try:
        said = process.communicate(timeout=240)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(process.communicate()[0]) from None
    assert process.returncode == 0, said


@pytest.mark.timeout(600)
def test_one_run_of_two_ranks_goes_on_under_shards(here):  # noqa: ARG001
    """40 s: two launches of two processes."""
    two = ["logger=wandb", "trainer.devices=2", "paths.runs=two"]
    train(*WORDS, *two, "trainer.max_steps=4", "trainer.strategy=ddp", "schedule=constant")
    (folder,) = Path("two").glob("*/*")
    train(f"resume={folder}", "trainer.max_steps=8", "trainer.strategy=fsdp2")
    found = wandb_reader.read_all(folder)
    assert [f.run_id for f in found] == [Sent.of(folder, "wandb").run] * 2, "only the first rank logs"
    history = [row for part in found for row in part.history]
    assert [row["trainer/global_step"] for row in history if "train_loss" in row] == list(range(1, 9))
    assert [row["_step"] for row in history] == sorted({row["_step"] for row in history})
    alone = components.train(
        None, [*WORDS, "trainer.max_steps=8", "schedule=constant", "trainer.devices=1", "paths.runs=one"], quiet=True
    )
    one, both = (
        {row["step"]: {n: v for n, v in row.items() if n.startswith(("norm/", "train_loss")) and v is not None} for row in rows}
        for rows in (read_rows(alone.folder / "metrics.csv"), read_rows(folder / "metrics.csv"))
    )
    assert set(both) == set(one) == set(range(1, 9))
    for step, figures in one.items():
        assert {n.split("/")[1] for n in figures if "/" in n} == {"gradient", "weight", "activation"}
        assert both[step] == pytest.approx(figures, rel=1e-5), f"step {step}"
    sent = {n: v for row in history for n, v in row.items() if row["trainer/global_step"] == 8}
    assert sent["norm/weight/stack.layers.0"] == pytest.approx(both[8]["norm/weight/stack.layers.0"], rel=1e-6)
