"""Studies whose runs are real: what W&B is given of them, and that one which was killed ends as one that was left alone.

A run is a process of some six seconds, most of them imports; both studies together train four.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("wandb")
pytest.importorskip("scipy")

sys.path.insert(0, str(Path(__file__).parent.parent / "training"))
sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
import tiny_recipe
import wandb_reader

pytestmark = pytest.mark.usefixtures("warm_processes")

COMMAND = (
    *(sys.executable, "-m", "components", "ablate", "recipe=./tiny.yaml", "model/norm=rms,layer", "seeds=1"),
    *("trainer.max_steps=300", "task.validation_every=30", "logger=wandb", "logger.mode=offline", "jobs=2"),
)


def begin(folder: Path) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"} | {"WANDB_SILENT": "true"}
    pipe = subprocess.PIPE
    return subprocess.Popen(COMMAND, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a study that nobody disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tiny_recipe.write(tmp_path_factory.mktemp("alone"), patch)
    process = begin(folder)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    (study,) = folder.glob("runs/studies/tiny_*")
    assert str(study / "report.html") in out
    return study


def read(folder: Path) -> wandb_reader.Written:
    (found,) = (folder / "wandb").glob("offline-run-*")
    return wandb_reader.read(found)


def test_runs_and_report_are_one_group_with_names_and_tags(alone):
    runs = [read(folder) for folder in (alone.parent / "runs").iterdir()]
    assert {r.group for r in runs} == {alone.name}
    assert {r.name for r in runs} == {"recipe, seed 0", "model/norm=layer, seed 0"}
    assert {t for r in runs for t in r.tags} == {"recipe", "model/norm=layer", "seed=0", "reported"}
    report = read(alone)
    assert (report.group, report.name, report.job) == (alone.name, f"{alone.name}, report", "report")
    table = report.table("summary")
    assert [row[0] for row in table["data"]] == ["recipe", "model/norm=layer"]
    assert table["columns"][:4] == ["variant", "seeds", "val_loss", "difference"]
    ((name, facts),) = [(name, facts) for _, name, facts in report.links if name.startswith("study-")]  # the table is one too
    assert name == f"study-{alone.name}"
    assert {"study.json", "report.md", "speeds.json"} <= {*facts["files"]}


def test_a_study_that_was_killed_ends_with_the_same_study_json(alone, tmp_path, monkeypatch):
    folder, draws = tiny_recipe.write(tmp_path, monkeypatch), random.Random(time.time_ns())
    process = begin(folder)
    time.sleep(draws.uniform(3, 15))
    whole = draws.random() < 0.5  # the runs with it, or they go on alone
    (os.killpg if whole else os.kill)(process.pid, draws.choice([signal.SIGKILL, signal.SIGTERM]))
    process.communicate(timeout=200)
    process = begin(folder)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    (study,) = folder.glob("runs/studies/tiny_*")
    assert (study / "study.json").read_bytes() == (alone / "study.json").read_bytes()
