"""Data, run, checkpoint and export hang together, read back from what W&B wrote offline, and from MLflow's own database and files."""

# ruff: noqa: ARG001  fixtures

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import wandb_reader

import components
from components.cli import main
from components.training.loggers import tell_figures

wandb = pytest.importorskip("wandb")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    wandb.teardown()


def written(folder: Path) -> list[wandb_reader.Written]:
    wandb.teardown()  # it has written all then
    return wandb_reader.read_all(folder)


def run(place: Path, *more: str, logger: str = "wandb") -> Path:
    text = place / "text.txt"
    text.write_text("\n\n".join(f"the {i}th of some short texts" for i in range(300)))
    small = [
        "model.d_model=16",
        "model.n_layers=1",
        "model.context_length=16",
        "task.batch_size=4",
        "task.samples=0",
        "trainer.max_steps=2",
    ]
    where = [f"data.path={text}", "data.split_on=blank_lines", f"paths.runs={place / 'runs'}", f"paths.cache={place / 'cache'}"]
    words = ["data=text", "tokenizer=byte", f"logger={logger}", *small, *where, *more]
    folder = components.train("llama_tiny", words, quiet=True).folder
    assert folder is not None
    return folder


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_data_run_checkpoint_export(offline, tmp_path, capsys):
    folder, to = run(tmp_path, "logger.lineage=true"), tmp_path / "exported"
    assert main(["export", str(folder), "--to", str(to)]) == 0, capsys.readouterr().err
    trained, exported = written(folder)
    data = json.loads((folder / "run.json").read_text())["data"]
    best, id = folder / "checkpoints" / "best.ckpt", trained.run_id
    model = {"files": {"best.ckpt": sha256(best)}, "data": data["hash"]}
    assert trained.links == [("read", f"data-{data['hash'][:16]}", data), ("left", f"model-{id}", model)]
    assert trained.artifacts == ["dataset", "model"]
    files = {f.name: sha256(f) for f in to.iterdir()}
    assert "model.safetensors" in files
    export = {"files": files, "checkpoint": model["files"], "data": data["hash"]}
    assert exported.links == [("read", f"model-{id}", model), ("left", f"export-{id}", export)]
    assert (exported.job, exported.exit_code) == ("export", 0)


def test_without_the_option_nothing_is_shown(offline, tmp_path, capsys):
    folder = run(tmp_path)
    assert main(["export", str(folder), "--to", str(tmp_path / "exported")]) == 0, capsys.readouterr().err
    (trained,) = written(folder)
    assert trained.links == []


def test_figures_that_were_measured_after_the_run_stand_in_its_summary(offline, tmp_path):
    folder = run(tmp_path)
    said: list[str] = []
    tell_figures(folder, {"harness/arc_easy/acc": 0.25, "harness/arc_easy/acc_stderr": 0.01}, said.append)
    trained, after = written(folder)
    assert after.run_id == trained.run_id
    assert after.summary["harness/arc_easy/acc"] == 0.25
    assert after.exit_code == 0
    assert said == []


def test_a_run_that_its_tracker_does_not_know_begins_none(offline, tmp_path):
    folder = run(tmp_path)
    (folder / "wandb.sent.jsonl").unlink()
    tell_figures(folder, {"harness/arc_easy/acc": 0.25}, pytest.fail)
    assert len(written(folder)) == 1


@pytest.fixture
def tracking(monkeypatch):
    found = pytest.importorskip(
        "mlflow", reason="logger=mlflow needs the package mlflow, which the project's own tests do not install"
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return found


def in_mlflow(tracking, place: Path):
    """(client, {name of the run: run}) of all runs that are in the database beside the runs."""
    client = tracking.MlflowClient(f"sqlite:///{place / 'runs' / 'mlflow.db'}")
    return client, {r.info.run_name: r for r in client.search_runs([e.experiment_id for e in client.search_experiments()])}


def left(client, run, name: str) -> dict:
    return json.loads(Path(client.download_artifacts(run.info.run_id, f"lineage/{name}.json")).read_text())


def test_data_run_checkpoint_export_in_mlflow(tracking, tmp_path, capsys):
    folder, to = run(tmp_path, "logger.lineage=true", "logger.checkpoint=true", logger="mlflow"), tmp_path / "exported"
    assert main(["export", str(folder), "--to", str(to)]) == 0, capsys.readouterr().err
    client, runs = in_mlflow(tracking, tmp_path)
    name = "/".join(folder.parts[-2:])
    assert set(runs) == {name, f"export of {name}"}
    trained, exported = runs[name], runs[f"export of {name}"]
    assert {trained.info.status, exported.info.status} == {"FINISHED"}

    data = json.loads((folder / "run.json").read_text())["data"]
    (read,) = trained.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == (f"data-{data['hash'][:16]}", data["hash"][:36])
    assert json.loads(read.dataset.source) == data
    assert trained.data.tags["data_hash"] == data["hash"]

    id, best = trained.info.run_id, folder / "checkpoints" / "best.ckpt"
    model = {"files": {"best.ckpt": sha256(best)}, "data": data["hash"]}
    assert left(client, trained, f"model-{id}") == {**model, "path": str(best)}
    assert sha256(Path(client.download_artifacts(id, "model/best.ckpt"))) == sha256(best)

    (made_from,) = exported.inputs.dataset_inputs
    assert (made_from.dataset.name, json.loads(made_from.dataset.source)) == (f"model-{id}", model)
    assert exported.data.tags["mlflow.parentRunId"] == id
    files = {f.name: sha256(f) for f in to.iterdir()}
    told = {"files": files, "checkpoint": model["files"], "data": data["hash"], "path": str(to)}
    assert left(client, exported, f"export-{id}") == told


def test_without_the_option_mlflow_is_shown_nothing(tracking, tmp_path, capsys):
    folder = run(tmp_path, logger="mlflow")
    assert main(["export", str(folder), "--to", str(tmp_path / "exported")]) == 0, capsys.readouterr().err
    client, runs = in_mlflow(tracking, tmp_path)
    (trained,) = runs.values()
    assert not trained.inputs.dataset_inputs
    assert "data_hash" not in trained.data.tags
    assert not client.list_artifacts(trained.info.run_id)


def test_an_export_of_a_run_that_mlflow_has_lost_is_told_in_a_line(tracking, tmp_path, capsys):
    folder = run(tmp_path, "logger.lineage=true", logger="mlflow")
    (tmp_path / "runs" / "mlflow.db").unlink()
    assert main(["export", str(folder), "--to", str(tmp_path / "exported")]) == 0, "what was exported is whole"
    assert "the run's tracker was not told: logger: MLflow shows no export at sqlite" in capsys.readouterr().out
