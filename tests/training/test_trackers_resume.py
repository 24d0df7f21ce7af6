"""A run that goes on is one run for TensorBoard and MLflow: no step is shown twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError
from components.runs import resume
from components.training import progress
from components.training.experiment import Job, fit

EVERY = {"max_steps": 12, "log_every_n_steps": 1}


def killed_and_continued(config, monkeypatch) -> Path:
    """A run that ends after its row of step 8, with a checkpoint of step 5, and goes on to step 12."""
    give = progress.Recorder.give

    def fail(self, trainer, step, *rest):
        give(self, trainer, step, *rest)
        if step == 8:
            raise KeyError("by the test")

    with monkeypatch.context() as m:
        m.setattr(progress.Recorder, "give", fail)
        with pytest.raises(KeyError):
            fit(Job(config, "tiny", quiet=True))
    (folder,) = Path(config["paths"]["runs"]).glob("tiny/*")
    fit(Job(config, resumed=resume.Resumed(folder, folder / "checkpoints" / "last.ckpt", config), quiet=True))
    return folder


def test_tensorboard_shows_each_step_once(tiny, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = killed_and_continued(tiny(logger={"name": "tensorboard"}, trainer=EVERY), monkeypatch)
    found = events.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    assert [e.step for e in found.Scalars("train_loss")] == list(range(1, 13))
    assert [e.step for e in found.Scalars("val_loss")] == [5, 10, 12]


def test_mlflow_continues_its_run(tiny, monkeypatch):
    client = pytest.importorskip(
        "mlflow", reason="logger=mlflow needs the package mlflow, which the project's own tests do not install"
    ).MlflowClient
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = tiny(logger={"name": "mlflow", "tags": {"try": 1}}, trainer=EVERY)
    folder = killed_and_continued(config, monkeypatch)
    held = client(f"sqlite:///{Path(config['paths']['runs']).absolute() / 'mlflow.db'}")
    (run,) = held.search_runs([e.experiment_id for e in held.search_experiments()])
    assert run.info.status == "FINISHED"
    assert run.data.tags["try"] == "1"
    assert run.data.params["model/attention/name"] == "gqa"
    assert [m.step for m in held.get_metric_history(run.info.run_id, "train_loss")] == list(range(1, 13))
    assert [m.step for m in held.get_metric_history(run.info.run_id, "val_loss")] == [5, 10, 12]
    assert (folder / "mlflow.sent.jsonl").exists()


def test_mlflow_that_has_lost_the_run_is_one_line(tiny, monkeypatch):
    pytest.importorskip("mlflow", reason="logger=mlflow needs the package mlflow, which the project's own tests do not install")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = tiny(logger={"name": "mlflow"}, trainer={"max_steps": 5})
    folder = fit(Job(config, "tiny", quiet=True)).folder
    (Path(config["paths"]["runs"]) / "mlflow.db").unlink()
    config["trainer"]["max_steps"] = 6
    with pytest.raises(UserError, match="logger: MLflow begins no run at sqlite"):
        fit(Job(config, resumed=resume.Resumed(folder, folder / "checkpoints" / "last.ckpt", config), quiet=True))
