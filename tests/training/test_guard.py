"""callbacks.guard: a step that is no number, or a spike, is reported with its part and its rows, and stopped at, left out, or gone back from."""

from __future__ import annotations

import csv
import math
import re

import pytest
import torch
from torch import Tensor

import components
from components.core.errors import UserError
from components.parts.ffn.mlp import MLP
from components.training.callback.guard import Guard
from components.training.experiment import Job, fit
from components.training.task._training import Training


class Scaled(torch.autograd.Function):
    """The same forward; backward a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factor, None


@pytest.fixture
def poison(monkeypatch):
    """``poison({step: row or None})``: in these steps the ffn of the second layer gives NaN, in a row of each micro-batch or in all of them."""
    now: dict[str, int] = {}
    faults: dict[int, int | None] = {}
    way: list[str] = ["forward"]
    plain, step = MLP.forward, Training.training_step

    def forward(self: MLP, x: Tensor, info=None) -> Tensor:
        y = plain(self, x, info)
        if not self.training or now.get("step") not in faults or "layers.1." not in self.part_path:
            return y
        if way[0] == "backward":
            return Scaled.apply(y, math.nan)
        if way[0] == "large":
            return Scaled.apply(y, 1e4)
        bad = torch.ones_like(y)
        row = faults[now["step"]]
        bad[slice(None) if row is None else row] = math.nan
        return y * bad

    def training_step(self: Training, item, batch_idx: int) -> Tensor:
        now["step"] = self.trainer.global_step + 1
        return step(self, item, batch_idx)

    monkeypatch.setattr(MLP, "forward", forward)
    monkeypatch.setattr(Training, "training_step", training_step)

    def choose(chosen: dict[int, int | None], how: str = "forward") -> None:
        faults.clear()
        faults.update(chosen)
        way[0] = how

    return choose


def run(tiny, guard=None, **changes):
    changes.setdefault("trainer", {"max_steps": 16, "log_every_n_steps": 1})
    changes.setdefault("model", {"ffn": {"name": "mlp"}})
    callbacks = {} if guard is None else {"guard": guard}
    return fit(Job(tiny(callbacks=callbacks, **changes), "guarded", quiet=True))


def held(done, name="last.ckpt"):
    return torch.load(done.folder / "checkpoints" / name, weights_only=True)


def same(one, other) -> bool:
    return all(torch.equal(w, other["state_dict"][n]) for n, w in one["state_dict"].items())


def adam_steps(checkpoint) -> int:
    return int(next(iter(checkpoint["optimizer_states"][0]["state"].values()))["step"])


def test_without_it_a_nan_ends_the_run_as_before(tiny, poison):
    poison({13: None})
    with pytest.raises(UserError, match=r"^training: the loss is nan at step 13; lower optimizer\.lr"):
        run(tiny)


def test_stop_names_the_step_the_part_and_the_row_and_keeps_the_weights_before(tiny, poison):
    poison({13: 5})
    with pytest.raises(UserError) as e:
        run(tiny, True)
    said = str(e.value)
    assert "the loss is nan at step 13, first in the output of stack.layers.1.ffn, sample 101: token " in said
    assert "of the train split, in document " in said


def test_stop_finds_a_part_whose_gradient_is_nan(tiny, poison):
    poison({13: None}, "backward")
    with pytest.raises(
        UserError,
        match=r"the gradient's norm is nan at step 13, first in the gradient of stack.layers.1.ffn, samples 96 to 103",
    ):
        run(tiny, {"on_fault": "stop"})


def test_a_step_without_a_fault_is_the_same_with_it(tiny):
    assert same(held(run(tiny)), held(run(tiny, {"on_fault": "skip", "spike": 50.0})))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_skip_leaves_the_step_out_and_nothing_else(tiny, poison, monkeypatch, accumulate):
    poison({7: None, 13: 1})
    trainer = {"max_steps": 16, "log_every_n_steps": 1, "accumulate_grad_batches": accumulate}
    done = run(tiny, {"on_fault": "skip"}, trainer=trainer)
    ours = held(done)
    assert adam_steps(ours) == 14
    assert ours["global_step"] == 16
    rows = list(csv.DictReader((done.folder / "metrics.csv").open()))
    assert [r["faults"] for r in rows if r["step"] in ("6", "7", "12", "13", "16")] == ["0", "1", "1", "2", "2"]
    assert all(r["train_loss"] != "nan" for r in rows)
    assert done.figures["faults"] == 2
    told = (done.folder / "faults.txt").read_text()
    assert told.startswith("step 7  the loss is nan at") or told.startswith("step 7  the loss is nan, first in the output of")
    # a run that never asks for the update of these steps
    poison({})
    plain = Training.optimizer_step

    def without(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        if self.trainer.global_step + 1 in (7, 13):
            optimizer_closure()
            self.stats, self.train_sums = {}, {}
            return
        plain(self, epoch, batch_idx, optimizer, optimizer_closure)

    monkeypatch.setattr(Training, "optimizer_step", without)
    other = run(tiny, trainer=trainer)
    assert same(ours, held(other))


def test_rewind_goes_back_to_the_last_checkpoint_and_past_the_batch(tiny, poison):
    poison({13: None})
    one, again = (run(tiny, {"on_fault": "rewind"}) for _ in range(2))
    assert same(held(one), held(again))
    assert adam_steps(held(one)) == 16 - 3  # of steps 11 to 13 nothing is left
    assert one.figures["rewinds"] == 1
    assert "gone back to the weights of step 10, on with the data of step 14" in (one.folder / "faults.txt").read_text()
    poison({11: None, 12: None, 13: None})
    assert same(held(one), held(run(tiny, {"on_fault": "skip"})))


def test_rewinds_are_bounded(tiny, poison):
    poison(dict.fromkeys(range(6, 17)))
    with pytest.raises(UserError, match=r"at step 9, .*it is fault 4 of the run; callbacks.guard.limit"):
        run(tiny, {"on_fault": "rewind", "limit": 3})


def test_rewind_without_a_checkpoint_says_so(tiny, poison):
    poison({3: None})
    with pytest.raises(UserError, match=r"at step 3, .*no checkpoint yet to go back to"):
        run(tiny, {"on_fault": "rewind"})
    with pytest.raises(UserError, match=r"callbacks.guard.on_fault: rewind goes back to a checkpoint, and none is written"):
        run(tiny, {"on_fault": "rewind"}, trainer={"max_steps": 4, "enable_checkpointing": False})


def test_a_spike_is_a_fault_if_asked_for(tiny, poison):
    poison({13: None}, "large")
    assert run(tiny, {"on_fault": "skip", "window": 8}).figures["faults"] == 0
    done = run(tiny, {"on_fault": "skip", "spike": 4.0, "window": 8})
    assert done.figures["faults"] == 1
    assert "times the median of the last 8 steps, samples 96 to 103: left out" in (done.folder / "faults.txt").read_text()


def test_a_row_of_the_data_is_named_by_its_file_and_line(tmp_path, monkeypatch):
    """One amount of 1e30 among small ones: its square is infinite in fp32."""
    lines = [f"{i % 7},{'1e30' if i == 33 else i % 5}" for i in range(64)]
    (tmp_path / "amounts.csv").write_text("\n".join(["input,target", *lines]) + "\n")
    words = [
        "recipe=llama_tiny",
        "model=mlp",
        "data=table_amounts",
        "data.path=amounts.csv",
        "loss=regression",
        "task=regression",
    ]
    words += [
        "model/head=regression",
        "model/embedding=patches",
        "model.embedding.d_in=1",
        "callbacks.guard.on_fault=skip",
        "task.batch_size=8",
        "trainer.max_epochs=2",
        "trainer.max_steps=null",
    ]
    words += [
        "task.validation_fraction=0",
        "task.test_fraction=0",
        "trainer.precision=32-true",
        "paths.cache=cache",
        "trainer.accelerator=cpu",
    ]
    monkeypatch.chdir(tmp_path)
    done = components.train(None, words, quiet=True)
    assert done.figures["faults"] == 2  # once in each epoch
    assert re.search(
        r"the loss is inf, first in the output of the loss, sample \d+: \S+/amounts.csv:35: left out",
        (done.folder / "faults.txt").read_text(),
    )


def test_an_overflow_of_a_scaled_loss_is_no_fault():
    """The scaler's own business: it skips such a step, and takes a smaller scale."""
    guard = Guard(on_fault="skip")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    guard._loss = scaler.scale(torch.tensor(3.0))
    for _ in range(20):
        assert not guard.finds_fault(torch.tensor(math.inf), scaler)
    assert guard.finds_fault(torch.tensor(math.inf), scaler)  # no scale is small enough
    assert not guard.finds_fault(torch.tensor(1.0), scaler)
    assert list(guard.losses) == [3.0]
    assert guard.finds_fault(torch.tensor(1.0), None) is False
    guard._loss = scaler.scale(torch.tensor(math.nan))
    assert guard.finds_fault(torch.tensor(math.nan), scaler)


def test_what_it_has_seen_goes_on_with_the_run(tiny, poison):
    poison({3: None, 7: None})
    guard = {"on_fault": "skip", "spike": 9.0}
    done = run(tiny, guard, trainer={"max_steps": 10, "log_every_n_steps": 1})
    state = held(done)["callbacks"]["Together"]["Guard"]
    assert state["faults"] == 2
    assert len(state["losses"]) == len(state["norms"]) == 8
