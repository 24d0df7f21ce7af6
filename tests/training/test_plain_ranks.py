"""Two ranks of a plain Trainer learn and log what one does. Two processes of a script of somebody's own, as Lightning starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger
from plain import hushed, task_and_data, trainer
from test_plain_trainer import rows_of

pytestmark = pytest.mark.usefixtures("warm_processes")

HERE = Path(__file__).parent
OPTIONS = {"max_steps": 8, "log_every_n_steps": 4, "val_check_interval": 4, "check_val_every_n_epoch": None}
SCRIPT = """
import sys

sys.path.insert(0, TESTS)
from pathlib import Path

from tiny_runs import make_tiny
from lightning.pytorch.loggers import CSVLogger
from plain import hushed, task_and_data, trainer

import components

if __name__ == "__main__":
    with hushed():
        here = Path(FOLDER)
        for name in ("ddp", components.strategies.FSDP2()):
            task, data = task_and_data(make_tiny(here)())
            logger = CSVLogger(here / "two", name=name if isinstance(name, str) else "fsdp2", version=0)
            own = trainer(here, devices=2, strategy=name, logger=logger, gradient_clip_val=0.5, **OPTIONS)
            own.fit(task, data)
            own.save_checkpoint(here / f"{logger.name}.ckpt")
"""


def test_two_ranks_are_one(tiny, tmp_path):  # 15 s: two processes import Lightning, and run once by DDP and once in shards
    config = tiny()
    with hushed():
        task, data = task_and_data(config)
        logger = CSVLogger(tmp_path / "one", version=0)
        trainer(tmp_path, logger=logger, gradient_clip_val=0.5, **OPTIONS).fit(task, data)
    one = rows_of(tmp_path / "one" / "lightning_logs" / "version_0" / "metrics.csv")
    begin = f"TESTS, FOLDER, OPTIONS = {str(HERE)!r}, {str(tmp_path)!r}, {OPTIONS!r}\n"
    (tmp_path / "script.py").write_text(begin + SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    compared = 0
    for strategy in ("ddp", "fsdp2"):
        two = rows_of(tmp_path / "two" / strategy / "version_0" / "metrics.csv")
        for step in (3, 7):
            for name in ("train_loss", "val_loss", "grad_norm", "lr"):
                there = [found[step if name in found.get(step, {}) else step + 1].get(name) for found in (one, two)]
                assert there[1] == pytest.approx(there[0], rel=1e-4), (strategy, step, name)
                compared += 1
        again = type(task).load_from_checkpoint(tmp_path / f"{strategy}.ckpt")
        for (name, a), b in zip(task.placed.named_parameters(), again.placed.parameters()):
            assert (a - b).abs().max() < 1e-3, name
    assert compared == 16
