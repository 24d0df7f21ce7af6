"""Which checkpoints of a run stay, and that a run goes on from each."""

from __future__ import annotations

import pytest

from components.core.errors import UserError
from components.runs import checkpoints, resume
from components.training.experiment import Job, fit
from components.training.keeping import Keeping
from components.training.saving import Checkpoints


def steps(folder):
    return {f.name: checkpoints.read(f)["global_step"] for f in sorted((folder / "checkpoints").iterdir())}


def test_the_last_ones_and_those_of_every_so_many_steps_stay(tiny):
    settings = {"max_steps": 14, "keep_last": 2, "keep_every": 3, "accumulate_grad_batches": 2}
    folder = fit(Job(tiny(trainer=settings), quiet=True)).folder
    kept = {f"step_{n}.ckpt": n for n in (3, 6, 9, 12, 14)}  # 5 and 10 were validated, and passed
    assert steps(folder) == {**kept, "last.ckpt": 14, "best.ckpt": steps(folder)["best.ckpt"]}


def test_a_run_goes_on_from_any_of_them_as_if_it_had_not_been_stopped(tiny, monkeypatch):
    config = tiny(trainer={"max_steps": 10, "keep_every": 4, "accumulate_grad_batches": 2})
    folder = fit(Job(config, quiet=True)).folder
    whole = checkpoints.read(folder / "checkpoints" / "last.ckpt")["state_dict"]
    (folder / "summary.json").unlink()
    assert steps(folder)["step_4.ckpt"] == 4
    resumed = resume.Resumed(folder, folder / "checkpoints" / "step_4.ckpt", config)
    write, written = Checkpoints.write, []
    monkeypatch.setattr(Checkpoints, "write", lambda s, t, **k: (written.append(t.global_step), write(s, t, **k)))
    fit(Job(config, resumed=resumed, quiet=True))
    assert written == [5, 8, 10], "4 was written when it began, or in the middle of a step"
    again = checkpoints.read(folder / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(w.equal(again[n]) for n, w in whole.items())


def test_no_validation_no_matter(tiny):
    folder = fit(Job(tiny(trainer={"max_steps": 7, "keep_every": 3, "limit_val_batches": 0}), quiet=True)).folder
    assert steps(folder) == {"last.ckpt": 7, "step_3.ckpt": 3, "step_6.ckpt": 6}


def test_nothing_stays_that_was_not_asked_for(tiny):
    folder = fit(Job(tiny(trainer={"max_steps": 7}), quiet=True)).folder
    assert set(steps(folder)) == {"last.ckpt", "best.ckpt"}


@pytest.mark.parametrize(("option", "value"), [("keep_last", -1), ("keep_every", 0), ("keep_last", "two")])
def test_a_value_that_cannot_be(tiny, option, value):
    with pytest.raises(UserError, match=f"^trainer.{option}: "):
        fit(Job(tiny(trainer={option: value}), quiet=True))


def test_what_a_run_that_has_gone_back_wrote_before_is_left(tmp_path):
    for n in (10, 20, 30, 40, 50):
        (tmp_path / f"step_{n}.ckpt").mkdir()
        (tmp_path / f"step_{n}.adapter.pt").write_text("")
    Keeping(last=9).forget(tmp_path, 50)
    assert len(list(tmp_path.iterdir())) == 10
    Keeping(last=2, every=20).forget(tmp_path, 40)
    left = {"step_20", "step_30", "step_40", "step_50"}  # 20 by its number, 50 is still to come again
    assert {f.name.split(".")[0] for f in tmp_path.iterdir()} == left
    assert len(list(tmp_path.iterdir())) == 8
