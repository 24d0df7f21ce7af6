"""What resuming refuses before it writes anything, what it finishes, and what no kill leaves behind."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from components.core import files, publishing
from components.core.errors import UserError
from components.runs import checkpoints, resume, run_folder
from components.runs.metrics_file import MetricsFile, read_rows
from components.training import lock
from components.training.experiment import Job, fit
from components.training.task import _training


def go_on(folder: Path, config: dict[str, Any]) -> Any:
    return fit(Job(config, resumed=resume.Resumed(folder, folder / "checkpoints" / "last.ckpt", config), quiet=True))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def no_optimizer(held):
    held["optimizer_states"] = []


def one_number(held):
    held["optimizer_states"][0]["state"][0]["exp_avg"] = torch.zeros(1)


def lost_state(held):
    held["optimizer_states"][0]["state"].popitem()


def another_shape(held):
    held["state_dict"][next(iter(held["state_dict"]))] = torch.zeros(3)


def no_random(held):
    del held["components"]["random"]


def cut_random(held):
    held["components"]["random"][0]["python"] = torch.zeros(3, dtype=torch.int64)


def no_figures(held):
    del held["callbacks"]


def no_schedule(held):
    del held["lr_schedulers"]


DAMAGE = {
    no_optimizer: "no state of the optimizer",
    one_number: "exp_avg of .* is 1, and the weight",
    lost_state: "tensors, and should have",
    another_shape: "is 3, and should be",
    no_random: "no random state",
    cut_random: "cut short",
    no_figures: "no figures",
    no_schedule: "no state of the schedule",
}


def test_a_checkpoint_that_does_not_fit_is_one_line_and_nothing_is_written(tiny):
    done = fit(Job(tiny(trainer={"max_steps": 5}), quiet=True)).folder
    longer, file = tiny(trainer={"max_steps": 6}), done / "checkpoints" / "last.ckpt"
    good = file.read_bytes()
    for damage, said in DAMAGE.items():
        held = torch.load(file, weights_only=True)
        damage(held)
        torch.save(held, file)
        before = contents(done)
        with pytest.raises(UserError, match=said) as refused:
            go_on(done, longer)
        assert str(file) in str(refused.value)
        assert contents(done) == before, damage.__name__
        file.write_bytes(good)
    assert go_on(done, longer).figures["step"] == 6


@pytest.mark.parametrize("key", ["PackedDataModule", "Blocked"])  # the latter in checkpoints of before
def test_other_data_are_refused_before_anything_is_written(tiny, tmp_path, key):
    done = fit(Job(tiny(trainer={"max_steps": 5}), quiet=True)).folder
    file = done / "checkpoints" / "last.ckpt"
    held = torch.load(file, weights_only=True)
    held[key] = held.pop("PackedDataModule")
    torch.save(held, file)
    (tmp_path / "story.txt").write_text("\n\n".join(f"number {i} of many" for i in range(200)))
    before = contents(done)
    with pytest.raises(UserError, match="the data are not those of the run"):
        go_on(done, tiny())
    assert contents(done) == before


@pytest.mark.parametrize("validation", [0.2, 0.0])
def test_a_run_that_was_killed_before_its_end_is_finished(tiny, validation):
    config = tiny(trainer={"max_steps": 5}, task={"validation_fraction": validation})
    folder = fit(Job(config, quiet=True)).folder
    whole = json.loads((folder / "summary.json").read_text())
    rows = read_rows(folder / "metrics.csv")
    (folder / "summary.json").unlink()
    assert go_on(folder, config).figures["state"] == "finished"
    again = json.loads((folder / "summary.json").read_text())
    assert {n: v for n, v in again.items() if n != "seconds"} == {n: v for n, v in whole.items() if n != "seconds"}
    assert read_rows(folder / "metrics.csv") == rows
    with pytest.raises(UserError, match="has done its 5 steps"):
        go_on(folder, config)


def test_early_stopping_that_was_killed_before_its_end_is_finished_and_not_trained_on(tiny):
    early = {"early_stopping": {"patience": 1, "min_delta": 100.0}}
    folder = fit(Job(tiny(callbacks=early), quiet=True)).folder
    with pytest.raises(UserError, match="early stopping ended the run at step 10"):
        go_on(folder, tiny(callbacks=early))
    (folder / "summary.json").unlink()
    assert go_on(folder, tiny(callbacks=early)).figures["step"] == 10
    patient = {"early_stopping": {"patience": 2, "min_delta": 100.0}}
    config = tiny(callbacks=patient)
    resumed = resume.Resumed(folder, folder / "checkpoints" / "last.ckpt", tiny(callbacks=early))
    assert fit(Job(config, resumed=resumed, quiet=True)).figures["step"] == 15  # the new patience counts


def test_two_processes_do_not_train_in_one_folder(tiny):
    folder = fit(Job(tiny(trainer={"max_steps": 5}), quiet=True)).folder
    text = "import sys, time; from components.training.lock import Lock; from pathlib import Path\n"
    text += "held = Lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", text, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        before = contents(folder)
        with pytest.raises(UserError, match=f"process {other.pid} on .* is training in it"):
            go_on(folder, tiny(trainer={"max_steps": 6}))
        assert contents(folder) == before
    finally:
        other.kill()
        other.wait()
    assert (folder / lock.NAME).exists()  # its process is gone, so it locks nothing
    assert go_on(folder, tiny(trainer={"max_steps": 6})).figures["step"] == 6
    assert not (folder / lock.NAME).exists()


def test_what_is_not_finite_is_never_saved(tiny, monkeypatch):
    """Of a validation, and of weights without one."""
    step = _training.Training.training_step

    def poisoned(self, item, i):
        loss = step(self, item, i)
        if self.trainer.global_step == 9 and self.trainer.limit_val_batches == 0:
            next(self.model.parameters()).data[0] = math.inf
        return loss * (math.nan if self.trainer.global_step == 6 and self.trainer.limit_val_batches else 1.0)

    monkeypatch.setattr(_training.Training, "training_step", poisoned)
    with pytest.raises(UserError, match="the validation loss is nan at step 10"):
        fit(Job(tiny(trainer={"log_every_n_steps": 100}), "a", quiet=True))
    with pytest.raises(UserError, match="the weights are not finite at step 10"):
        fit(Job(tiny(trainer={"max_steps": 10, "limit_val_batches": 0}), "b", quiet=True))
    good, without = run_folder.all_runs(Path(tiny()["paths"]["runs"]))
    for name in ("last.ckpt", "best.ckpt"):
        held = checkpoints.read(good / "checkpoints" / name)
        assert held["global_step"] == 5
        assert all(v.isfinite().all() for v in held["state_dict"].values())
    assert not (without / "checkpoints" / "last.ckpt").exists()
    summary = json.loads((good / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["state"] == "failed"
    assert summary["val_loss"] is None


def test_a_kill_while_saving_never_leaves_an_old_best(tiny, monkeypatch):
    """Either both files are of this validation, or the best one is and the last one is of the validation before."""
    replaced = publishing.os.replace

    def killed(source, target):
        if Path(target).name == "last.ckpt" and "fresh" in Path(source).name and len(seen) == 1:
            raise KeyError("killed")
        if Path(target).name == "last.ckpt":
            seen.append(target)
        replaced(source, target)

    seen: list[Any] = []
    monkeypatch.setattr(publishing.os, "replace", killed)
    with pytest.raises(KeyError):
        fit(Job(tiny(), quiet=True))
    (folder,) = run_folder.all_runs(Path(tiny()["paths"]["runs"]))
    steps = {n: checkpoints.read(folder / "checkpoints" / n)["global_step"] for n in ("last.ckpt", "best.ckpt")}
    assert steps == {"last.ckpt": 5, "best.ckpt": 10}
    (folder / "checkpoints" / "last.ckpt.0123abcd.part").write_bytes(b"half")
    monkeypatch.undo()
    go_on(folder, tiny())
    assert {f.name for f in (folder / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


def test_best_is_a_file_of_its_own_where_the_disk_has_no_links(tmp_path, monkeypatch):
    (tmp_path / "fresh").write_bytes(b"new")
    monkeypatch.setattr(publishing.os, "link", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    publishing.also_as(tmp_path / "fresh", tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").read_bytes() == b"new"
    assert {f.name for f in tmp_path.iterdir()} == {"fresh", "best.ckpt"}


def test_a_full_disk_is_one_line_and_what_was_saved_stays(tiny, monkeypatch):
    whole, fail = files.whole, []

    def full(file):
        if fail:
            raise files.unwritable(file, OSError(28, os.strerror(28)))
        return whole(file)

    add = MetricsFile.add

    def filled(self, step, **figures):
        fail.extend([1] if step == 8 else [])
        add(self, step, **figures)

    monkeypatch.setattr(MetricsFile, "add", filled)
    monkeypatch.setattr(files, "whole", full)
    with pytest.raises(UserError, match=r"last.ckpt: cannot be written \(No space left on device\)"):
        fit(Job(tiny(trainer={"log_every_n_steps": 1}), quiet=True))
    (folder,) = run_folder.all_runs(Path(tiny()["paths"]["runs"]))
    assert checkpoints.read(folder / "checkpoints" / "last.ckpt")["global_step"] == 5


def test_the_best_checkpoint_is_the_one_that_early_stopping_watches(tiny):
    """By the same figure, the worst of it: the two must differ."""
    config = tiny(callbacks={"early_stopping": {"monitor": "val_bits_per_byte", "mode": "max", "patience": 9}})
    done = fit(Job(config, quiet=True))
    rows = {r["step"]: r["val_bits_per_byte"] for r in read_rows(done.folder / "metrics.csv")}
    worst = max(rows, key=rows.get)
    assert done.figures["best_step"] == worst == checkpoints.read(done.folder / "checkpoints" / "best.ckpt")["global_step"]
    assert worst != min(rows, key=rows.get)


def test_resuming_may_change_how_it_is_cut_and_when_it_is_looked_at(tiny):
    """Other micro-batches, other intervals: the steps are the same, so is what is learnt; validations come where they are due now."""
    cut = fit(Job(tiny(trainer={"max_steps": 10}, schedule={"name": "constant"}), "cut", quiet=True)).folder
    constant = fit(Job(tiny(schedule={"name": "constant"}), "constant", quiet=True)).folder
    changed = {"accumulate_grad_batches": 2, "log_every_n_steps": 3}
    go_on(cut, tiny(trainer=changed, task={"validation_every": 4}, schedule={"name": "constant"}))
    rows = read_rows(cut / "metrics.csv")
    assert [r["step"] for r in rows if r["val_loss"] is not None] == [5, 10, 12, 16, 20]
    assert [r["step"] for r in rows if r["train_loss"] is not None] == [5, 10, 12, 15, 18, 20]
    assert rows[-1]["val_loss"] == pytest.approx(read_rows(constant / "metrics.csv")[-1]["val_loss"], rel=1e-4)
