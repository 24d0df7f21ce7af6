"""A run that is stopped at any step leaves, when it has gone on, what the uninterrupted run leaves: rows, best checkpoint, early stopping."""

# ruff: noqa: ARG002  hooks
from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from components.core import registry
from components.runs import checkpoints, resume, run_folder
from components.runs.metrics_file import read_rows
from components.training.experiment import Job, fit
from components.training.preemption import Preempted

TIMED = ("seconds", "tokens_per_second", "mfu")
STEPS = 7  # not a whole number of epochs, of validations, or of logged steps


class Signal(Callback):
    """Sends SIGTERM while a step is taken, or while the validation after it is."""

    def __init__(self, *, step: int, where: str = "step") -> None:
        super().__init__()
        self.step, self.where = step, where

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.where == "step" and trainer.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.where == "validation" and trainer.global_step == self.step and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def configured(tiny):
    """Dropout, micro-batches, epochs of four steps; ``quick`` makes early stopping end the run at its third validation."""
    registry.register("callback", "signal")(Signal)

    def config(*, quick: bool = False, **sent: Any) -> dict[str, Any]:
        early = {"patience": 1 if quick else 2, "min_delta": 100.0 if quick else 0.0, "monitor": "val_bits_per_byte"}
        return tiny(
            model={"n_layers": 1, "embedding": {"name": "token", "dropout": 0.2}},
            task={"validation_every": 3},
            trainer={
                **{"max_steps": STEPS, "log_every_n_steps": 2, "accumulate_grad_batches": 2},
                **{"max_epochs": 100, "limit_train_batches": 8},
            },
            callbacks={"early_stopping": early, **({"signal": sent} if sent else {})},
        )

    yield config
    registry.unregister("callback", "signal")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [{n: v for n, v in row.items() if n not in TIMED} for row in read_rows(folder / "metrics.csv")]


def assert_same(mine: Path, other: Path) -> None:
    assert rows(mine) == rows(other)
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (checkpoints.read(f / "checkpoints" / name) for f in (mine, other))
        assert a["global_step"] == b["global_step"], name
        assert all(torch.equal(v, b["state_dict"][n]) for n, v in a["state_dict"].items()), name
        assert a["callbacks"]["Together"]["EarlyStopping"] == b["callbacks"]["Together"]["EarlyStopping"]
        assert (
            a["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
            == b["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
        )


def go_on(folder: Path, config: dict[str, Any]) -> Any:
    return fit(Job(config, resumed=resume.Resumed(folder, folder / "checkpoints" / "last.ckpt", config), quiet=True))


# two runs for each step (20 s on a busy machine): the whole point is that no step is left out
@pytest.mark.parametrize("quick", [False, True], ids=["to the end", "early stopping"])
def test_at_every_step(configured, quick):
    whole = fit(Job(configured(quick=quick), "whole", quiet=True))
    assert [r["step"] for r in rows(whole.folder) if r["val_loss"] is not None] == ([3, 6] if quick else [3, 6, STEPS])
    for step in range(3 if quick else 1, whole.figures["step"] + 1):
        with pytest.raises(Preempted):
            fit(Job(configured(quick=quick, step=step), "cut", quiet=True))
        cut = run_folder.all_runs(whole.folder.parent.parent)[-1]
        assert checkpoints.read(cut / "checkpoints" / "last.ckpt")["global_step"] == step
        again = go_on(cut, configured(quick=quick))
        assert again.figures["state"] == whole.figures["state"] == ("stopped early" if quick else "finished")
        assert again.figures["step"] == whole.figures["step"]
        assert again.figures["best_step"] == whole.figures["best_step"]
        assert_same(cut, whole.folder)


@pytest.mark.parametrize("step", [3, STEPS])
def test_within_a_validation(configured, step):
    whole = fit(Job(configured(), "whole", quiet=True))
    with pytest.raises(Preempted):
        fit(Job(configured(step=step, where="validation"), "cut", quiet=True))
    cut = run_folder.all_runs(whole.folder.parent.parent)[-1]
    go_on(cut, configured())
    assert_same(cut, whole.folder)
