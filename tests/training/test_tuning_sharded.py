"""Frozen and slower weights on two processes, as a user starts them: DDP and FSDP2 end where one process does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components.runs import checkpoints

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from tiny_recipe import write

pytestmark = pytest.mark.usefixtures("warm_processes")

# SGD: Adam's first steps enlarge what the order of a sum changes
SMALL = ["optimizer=sgd", "optimizer.lr=0.1", "schedule=constant", "task.samples=0", "trainer.max_steps=4", "model.n_layers=2"]
TUNED = {
    "frozen": ["tuning=frozen", "tuning.patterns=['embedding','stack.layers.0','*.attention.q']", "tuning.but=[]"],
    "layer_decay": ["tuning=layer_decay", "tuning.decay=0.5"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TUNED)
def test_two_processes_end_where_one_does(name, tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)

    def run(*words):
        command = [sys.executable, "-m", "components", "train", "recipe=./tiny.yaml", *SMALL, *TUNED[name], *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        newest = sorted((tmp_path / "runs" / "tiny").iterdir())[-1]
        return checkpoints.weights_in(checkpoints.read(newest / "checkpoints" / "last.ckpt"))

    one = run()
    for strategy in ("ddp", "fsdp2"):
        two = run("trainer.devices=2", f"trainer.strategy={strategy}")
        assert two.keys() == one.keys()
        for weight, value in one.items():
            torch.testing.assert_close(two[weight], value, rtol=0, atol=1e-5, msg=f"{strategy}: {weight}")
