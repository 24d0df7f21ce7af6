"""A run that was stopped goes on to exactly what it would have come to."""

# ruff: noqa: ARG001, ARG002  fixtures and hooks
from __future__ import annotations

import json
import os
import signal
import zipfile
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from components.compose.request import Request
from components.core import registry
from components.core.errors import UserError
from components.runs import checkpoints, resume, run_folder
from components.runs.metrics_file import read_rows
from components.training import experiment
from components.training.experiment import Job, fit
from components.training.preemption import Preempted

DROPOUT = {"embedding": {"name": "token", "dropout": 0.2}}


class StopAfter(Callback):
    """Kills the run after a step: by an exception, or by the signal that schedulers send."""

    def __init__(self, *, step: int, how: str) -> None:
        super().__init__()
        self.step, self.how = step, how

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            if self.how == "killed":
                raise KeyError("stopped by the test")
            if self.how == "Ctrl-C":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def stopping():
    registry.register("callback", "stop_after")(StopAfter)
    yield
    registry.unregister("callback", "stop_after")


def last(folder: Path) -> dict:
    return checkpoints.read(folder / "checkpoints" / "last.ckpt")


def resumed(folder: Path, config: dict) -> Job:
    return Job(config, "tiny", resumed=resume.Resumed(folder, folder / "checkpoints" / "last.ckpt", config), quiet=True)


def assert_same(a: dict, b: dict) -> None:
    assert a["global_step"] == b["global_step"]
    for name, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][name]), name
    for mine, other in zip(a["optimizer_states"][0]["state"].values(), b["optimizer_states"][0]["state"].values()):
        assert all(torch.equal(mine[k], other[k]) for k in mine)
    assert a["lr_schedulers"][0]["_last_lr"] == b["lr_schedulers"][0]["_last_lr"]


@pytest.mark.parametrize(
    ("how", "step", "workers", "accumulate"), [("killed", 12, 0, 1), ("SIGTERM", 7, 0, 2), ("SIGTERM", 13, 2, 1)]
)
def test_bit_for_bit_with_dropout_across_epochs(tiny, stopping, how, step, workers, accumulate):
    changes = {
        "model": DROPOUT,
        "trainer": {"accumulate_grad_batches": accumulate, "limit_train_batches": 9 * accumulate, "max_epochs": 99},
    }
    changes["task"] = {"num_workers": workers}
    whole = fit(Job(tiny(**changes), "whole", quiet=True))
    with pytest.raises(KeyError if how == "killed" else Preempted) as stopped:
        fit(Job(tiny(**changes, callbacks={"stop_after": {"step": step, "how": how}}), "cut", quiet=True))
    if how == "SIGTERM":
        assert stopped.value.code == 75
    cut = run_folder.all_runs(whole.folder.parent.parent)[-1]
    assert cut.parent.name == "cut"
    assert last(cut)["global_step"] == (10 if how == "killed" else step + 1)
    torch.rand(3)  # what else drew random numbers in between does not matter
    again = fit(resumed(cut, tiny(**changes)))
    assert again.folder == cut
    assert_same(last(whole.folder), last(cut))
    rows, expected = (read_rows(f / "metrics.csv") for f in (cut, whole.folder))
    assert [r["step"] for r in rows] == [r["step"] for r in expected] == [5, 10, 15, 20]
    assert [r["val_loss"] for r in rows] == [r["val_loss"] for r in expected]
    assert [r["lr"] for r in rows] == [r["lr"] for r in expected]
    assert again.figures["val_loss"] == whole.figures["val_loss"]


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true"])
def test_a_finished_run_goes_on_when_it_is_made_longer(tiny, precision):
    constant = {"schedule": {"name": "constant"}}
    whole = fit(Job(tiny(**constant, trainer={"precision": precision}), "whole", quiet=True))
    short = fit(Job(tiny(**constant, trainer={"precision": precision, "max_steps": 10}), "short", quiet=True))
    fit(resumed(short.folder, tiny(**constant, trainer={"precision": precision})))
    assert_same(last(whole.folder), last(short.folder))


def test_an_interrupted_run_is_complete_and_the_next_one_hears_ctrl_c(tiny, stopping):
    handler = signal.getsignal(signal.SIGINT)
    config = tiny(callbacks={"stop_after": {"step": 7, "how": "Ctrl-C"}})
    with pytest.raises(KeyboardInterrupt):
        fit(Job(config, "cut", quiet=True))
    assert signal.getsignal(signal.SIGINT) is handler
    (folder,) = Path(config["paths"]["runs"]).glob("cut/*")
    assert json.loads((folder / "summary.json").read_text())["state"] == "interrupted"
    assert [r["step"] for r in read_rows(folder / "metrics.csv")] == [5]
    assert (folder / "curves.png").exists()


def test_a_finished_run_says_so(tiny):
    done = fit(Job(tiny(trainer={"max_steps": 2}), "done", quiet=True))
    with pytest.raises(UserError, match="has done its 2 steps"):
        fit(resumed(done.folder, tiny(trainer={"max_steps": 2})))
    assert len(read_rows(done.folder / "metrics.csv")) == 1


def test_the_longer_schedule_counts_after_a_resume(tiny):
    short = fit(Job(tiny(trainer={"max_steps": 10}), "short", quiet=True))
    fit(resumed(short.folder, tiny()))
    assert read_rows(short.folder / "metrics.csv")[2]["lr"] > read_rows(short.folder / "metrics.csv")[1]["lr"]


def test_without_validation_the_end_is_saved_and_goes_on(tiny):
    options = {"task": {"validation_fraction": 0.0}, "schedule": {"name": "constant"}}
    whole = fit(Job(tiny(**options), "whole", quiet=True))
    short = fit(Job(tiny(**options, trainer={"max_steps": 13}), "short", quiet=True))
    assert last(short.folder)["global_step"] == 13
    fit(resumed(short.folder, tiny(**options)))
    assert_same(last(whole.folder), last(short.folder))


def test_other_data_are_refused(tiny, tmp_path):
    done = fit(Job(tiny(), "tiny", quiet=True))
    (tmp_path / "story.txt").write_text(
        "something else entirely.\n\n" * 3 + "\n\n".join(f"number {i} of many" for i in range(90))
    )
    with pytest.raises(UserError, match="init_from="):
        fit(resumed(done.folder, tiny(trainer={"max_steps": 30})))


def test_what_resume_may_change():
    for allowed in (
        "trainer.max_steps=5",
        "trainer.devices=2",
        "logger=wandb",
        "callbacks.early_stopping={patience: 2}",
        "paths.runs=x",
        "trainer.accumulate_grad_batches=2",
        "trainer.num_nodes=2",
        "trainer.log_every_n_steps=3",
        "task.num_workers=1",
        "task.validation_every=3",
        "task.activation_checkpointing=true",
        "task.compile=layers",
    ):
        with pytest.raises(UserError, match="no such run"):
            resume.find_resumed("nothing_here", Request.of([allowed]).overrides, Path("nowhere"))
    for refused in (
        "model/norm=rms",
        "model.d_model=8",
        "seed=2",
        "trainer.gradient_clip_val=2",
        "task.batch_size=4",
        "+trainer.x=1",
    ):
        with pytest.raises(UserError, match="init_from="):
            resume.find_resumed("nothing_here", Request.of([refused]).overrides, Path("nowhere"))


def test_a_checkpoint_is_data(tiny, tmp_path):
    bad = tmp_path / "bad.ckpt"
    torch.save({"components": experiment.Job({})}, bad)
    with pytest.raises(UserError, match="pickled objects"):
        checkpoints.read(bad)
    bad.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="is not a checkpoint"):
        checkpoints.read(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        checkpoints.read(bad)
    torch.save({"state_dict": {}}, bad)
    with pytest.raises(UserError, match="not written by this package"):
        checkpoints.read(bad)
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoints.read(tmp_path / "none.ckpt")


def test_words_that_say_where_a_run_begins():
    words = ["+init_from='a b/c'", "seed=1", "++resume=null", "+recipe=x", "+trainer.max_time=null"]
    request = Request.of(words)
    assert [a.typed for a in request.overrides] == ["seed=1", "+trainer.max_time=null"]
    assert (request.init_from, request.resume, request.recipe) == ("a b/c", None, "x")
    assert set(request.given) == {"init_from", "resume", "recipe"}
    with pytest.raises(UserError, match="given twice: a, b"):
        Request.of(["resume=a", "+resume=b"])
    assert resume.runs_folder(Request.of(["paths.runs=~/there"])) == Path.home() / "there"
    assert resume.runs_folder(Request.of(["seed=1"])) == Path("runs")
