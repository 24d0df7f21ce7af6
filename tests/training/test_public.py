"""``components.callbacks``, ``components.strategies`` and ``components.tasks``: our pieces one by one, in a Trainer of anybody's."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from plain import hushed, task_and_data, trainer
from test_plain_trainer import rows_of

import components
from components.core.errors import UserError
from components.training.experiment import Job, fit
from components.training.public.callbacks import CallbackGroup, Checkpoints, Figures, Metrics, Samples

EVERY = {"val_check_interval": 5, "check_val_every_n_epoch": None, "log_every_n_steps": 5, "gradient_clip_val": 1.0}


@pytest.fixture(autouse=True)
def _quietly():
    with hushed():
        yield


def test_they_are_there_by_name_and_nothing_is_imported_before():
    code = "import sys, components; assert 'torch' not in sys.modules; import components.strategies as s; "
    code += "assert s is components.strategies and 'lightning' in sys.modules; from components.tasks import Task; assert Task is components.Task"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"callbacks", "strategies", "tasks", "Task"} <= set(dir(components))
    assert all(
        hasattr(space, name)
        for space in (components.callbacks, components.strategies, components.tasks)
        for name in space.__all__
    )


def test_metrics_and_checkpoints_leave_what_a_run_leaves(tiny, tmp_path):
    config = tiny(model={"embedding": {"name": "token", "dropout": 0.1}}, task={"samples": 1, "sample_tokens": 4})
    ours = fit(Job(config, "tiny", quiet=True)).folder
    task, data = task_and_data(config)
    kept = [
        Metrics(tmp_path / "own", bar=False),
        Samples(tmp_path / "own" / "samples.txt", say=None),
        Checkpoints(tmp_path / "own"),
    ]
    own = trainer(tmp_path, max_steps=20, callbacks=[CallbackGroup(kept)], **EVERY)
    own.fit(task, data)
    mine, theirs = rows_of(tmp_path / "own" / "metrics.csv"), rows_of(ours / "metrics.csv")
    assert mine.keys() == theirs.keys() == {5, 10, 15, 20}
    for step, row in theirs.items():
        for name in ("epoch", "tokens", "train_loss", "val_loss", "val_bits_per_byte", "lr"):
            assert mine[step][name] == pytest.approx(row[name], rel=1e-6), (step, name)
    assert (tmp_path / "own" / "samples.txt").read_text() == (ours / "samples.txt").read_text()
    weights = components.load(ours / "checkpoints" / "best.ckpt").model.state_dict()
    for name, value in components.load(tmp_path / "own" / "best.ckpt").model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_run_with_dropout_goes_on_exactly(tiny, tmp_path):
    config = tiny(model={"embedding": {"name": "token", "dropout": 0.3}})
    ends = []
    for steps, start in ((10, None), (20, tmp_path / "own" / "last.ckpt"), (20, None)):
        task, data = task_and_data(config)
        # a fixed length, so that the first half is that of the whole
        task.total_steps = 20
        own = trainer(
            tmp_path, max_steps=steps, callbacks=[Metrics(tmp_path / "own", bar=False), Checkpoints(tmp_path / "own")], **EVERY
        )
        own.fit(task, data, ckpt_path=start)
        ends.append({n: v.clone() for n, v in task.placed.state_dict().items()})
    assert all(torch.equal(ends[1][n], ends[2][n]) for n in ends[1])
    assert not torch.equal(ends[0]["head.logits.weight"], ends[1]["head.logits.weight"])
    assert list(rows_of(tmp_path / "own" / "metrics.csv")) == [5, 10, 15, 20]


def test_checkpoints_alone_and_foreign_data_are_refused_in_one_line(tiny, tmp_path):
    task, data = task_and_data(tiny())
    with pytest.raises(
        UserError, match=r"^callbacks.Checkpoints: nobody says which validation was the best; add callbacks.Metrics"
    ):
        trainer(tmp_path, max_steps=2, callbacks=[Checkpoints(tmp_path)]).fit(task, data)
    with pytest.raises(UserError, match=r"^callbacks.Metrics: it counts tokens of our data modules"):
        trainer(tmp_path, max_steps=2, callbacks=[Metrics(tmp_path)]).fit(task, data.train_dataloader())


def test_callbacks_watch_figures_of_our_metrics_too(tiny, tmp_path):
    task, data = task_and_data(tiny())
    watching = EarlyStopping("val_loss", patience=0, min_delta=1e9)
    own = trainer(tmp_path, max_steps=20, callbacks=[Metrics(tmp_path, bar=False), watching], **EVERY)
    own.fit(task, data)
    assert own.global_step == 10


def test_figures_of_a_task_that_is_in_no_run(tiny, tmp_path):
    task, data = task_and_data(tiny())
    trainer(tmp_path / "root", max_steps=2, callbacks=[Figures(prompt="tree", new_tokens=2)]).fit(task, data)
    assert len(list((tmp_path / "root" / "figures").glob("*.png"))) >= 2
