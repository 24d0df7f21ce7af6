"""Runs whose optimizer averages weights: the average is validated and saved, and a run that was stopped goes on bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

import components
from components.core import registry
from components.evaluating import evaluation
from components.runs import checkpoints, resume, run_folder
from components.runs.metrics_file import read_rows
from components.training.experiment import Job, fit
from components.training.preemption import Preempted

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from tiny_recipe import RECIPE

pytestmark = pytest.mark.usefixtures("warm_processes")

OPTIMIZERS = {
    "ema": {"name": "ema", "decay": 0.9, "inner": {"name": "adamw", "lr": 1e-2}},
    "schedule_free": {"name": "schedule_free", "lr": 1e-2},
    "skip_step": {
        "name": "skip_step",
        "window": 6,
        "inner": {"name": "ema", "decay": 0.9, "inner": {"name": "lion", "lr": 1e-3}},
    },
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


class StopAt(Callback):
    """Asks the run to end after a step, as a scheduler's signal does: in the middle of training, not at a validation."""

    def __init__(self, *, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):  # noqa: ARG002  a hook
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def stopping():
    registry.register("callback", "stop_at")(StopAt)
    yield
    registry.unregister("callback", "stop_at")


def last(folder: Path) -> dict:
    return checkpoints.read(folder / "checkpoints" / "last.ckpt")


def averages(checkpoint: dict) -> dict[str, torch.Tensor]:
    """What the optimizer's state holds as training weights, in the order of its parameters."""
    return {str(k): v for k, v in checkpoint["optimizer_states"][0]["state"].items()}


@every_optimizer
def test_the_average_is_what_is_saved_validated_and_loaded(name, tiny):
    config = tiny(optimizer=OPTIMIZERS[name])
    run = fit(Job(config, "tiny", quiet=True))
    saved = last(run.folder)
    loaded = components.load(run.folder / "checkpoints" / "last.ckpt")
    rows = read_rows(run.folder / "metrics.csv")
    assert evaluation.evaluate(loaded)["loss"] == pytest.approx(rows[-1]["val_loss"], abs=1e-6)
    state = saved["optimizer_states"][0]["state"]
    weights = [v for n, v in checkpoints.weights_in(saved).items() if not n.endswith("rotation")]
    shapes = {tuple(v.shape) for v in weights}
    if name == "schedule_free":
        held = [s["x"] for s in state.values()]
    else:  # saved while swapped: the state has the trained weights
        held = [s["average"] for s in state.values()]
        assert all(g["averaged"] for g in saved["optimizer_states"][0]["param_groups"])
    assert {tuple(h.shape) for h in held} <= shapes
    equal = [any(h.shape == w.shape and torch.equal(h, w) for w in weights) for h in held]
    moved = [s.get("exp_avg_sq", s.get("exp_avg")).any().item() for s in state.values()]
    # schedule_free: every saved weight is an average; ema: none of those that moved is the trained one
    assert all(equal) if name == "schedule_free" else not any(e for e, m in zip(equal, moved) if m)


@every_optimizer
@pytest.mark.parametrize("step", [7, 13])
def test_stopped_between_validations_it_goes_on_bit_for_bit(name, step, tiny, stopping):  # noqa: ARG001  a fixture
    optimizer = {"optimizer": OPTIMIZERS[name]}
    whole = fit(Job(tiny(**optimizer), "whole", quiet=True))
    with pytest.raises(Preempted):
        fit(Job(tiny(**optimizer, callbacks={"stop_at": {"step": step}}), "cut", quiet=True))
    cut = run_folder.all_runs(whole.folder.parent.parent)[-1]
    assert last(cut)["global_step"] == step + 1
    config = tiny(**optimizer)
    fit(Job(config, "tiny", resumed=resume.Resumed(cut, cut / "checkpoints" / "last.ckpt", config), quiet=True))
    a, b = last(whole.folder), last(cut)
    assert a["global_step"] == b["global_step"] == 20
    for key, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][key]), key
    for mine, other in zip(averages(a).values(), averages(b).values(), strict=True):
        for key, value in mine.items():
            assert torch.equal(value, other[key]) if torch.is_tensor(value) else value == other[key], key
    assert [r["val_loss"] for r in read_rows(whole.folder / "metrics.csv")] == [
        r["val_loss"] for r in read_rows(cut / "metrics.csv")
    ]


def test_what_is_sampled_and_judged_is_the_average(tiny, monkeypatch):
    """Weights at each sampling equal those of the checkpoint written beside it."""
    from components.training.task import _training

    seen = []

    def record(model, *_, **kwargs):
        seen.append([p.detach().clone() for p in model.parameters()])
        return ["x"] * kwargs.get("count", 1)

    monkeypatch.setattr(_training, "generate", record)
    run = fit(Job(tiny(optimizer=OPTIMIZERS["schedule_free"], task={"samples": 1}), "tiny", quiet=True))
    assert len(seen) == 4
    saved = checkpoints.weights_in(last(run.folder))
    found = {tuple(v.shape): [] for v in saved.values()}
    for value in saved.values():
        found[tuple(value.shape)].append(value)
    assert all(any(torch.equal(p, v) for v in found[tuple(p.shape)]) for p in seen[-1])


def test_validation_does_not_change_training(tiny):
    """As many validations as you like: the swap there and back loses nothing."""
    ends = []
    for every in (3, 20):
        run = fit(Job(tiny(optimizer=OPTIMIZERS["ema"], task={"validation_every": every}), "tiny", quiet=True))
        ends.append(checkpoints.weights_in(last(run.folder)))
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_a_spike_is_seen_before_it_is_clipped(tiny, monkeypatch):
    """The trainer clips at 0.1, so that every step's clipped norm is alike; one gradient is a thousand times too large."""
    from components.training.task.language_modeling import LanguageModeling

    share = LanguageModeling.share_of_mean
    monkeypatch.setattr(
        LanguageModeling,
        "share_of_mean",
        lambda self, *a: share(self, *a) * (1000.0 if self.trainer.global_step == 12 else 1.0),
    )
    config = tiny(optimizer={"name": "skip_step", "window": 8}, trainer={"gradient_clip_val": 0.1})
    run = fit(Job(config, "tiny", quiet=True))
    group = last(run.folder)["optimizer_states"][0]["param_groups"][0]
    assert group["skipped"] == 1
    assert len(group["norms"]) == 8
    assert max(group["norms"]) > 100 * sorted(group["norms"])[0]


@pytest.mark.slow
def test_under_fsdp2_as_on_one_device_and_resumed_bit_for_bit(tmp_path):
    """Two processes, as a user starts them: the same validation losses, and a run in two halves ends in the same weights."""
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "text.txt").write_text(
        "\n\n".join(f"the {w} number {i}" for i in range(60) for w in ("tree", "stone", "river"))
    )
    two = ["trainer.devices=2", "trainer.strategy=fsdp2"]
    small = ["optimizer=ema", "optimizer.decay=0.9", "optimizer.inner.eps=1e-4", "task.samples=0", "task.validation_every=3"]
    small += ["schedule=constant"]

    def run(*words):
        command = [sys.executable, "-m", "components", "train", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        return sorted((tmp_path / "runs" / "tiny").iterdir())[-1]

    one = run("recipe=./tiny.yaml", *small)
    whole = run("recipe=./tiny.yaml", *small, *two)
    half = run("recipe=./tiny.yaml", *small, *two, "trainer.max_steps=5")
    run(f"resume={half}", "trainer.max_steps=10")
    losses = [[r["val_loss"] for r in read_rows(f / "metrics.csv") if r["val_loss"]] for f in (one, whole)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    a, b = (checkpoints.weights_in(last(f)) for f in (whole, half))
    assert all(torch.equal(a[n], b[n]) for n in a)
