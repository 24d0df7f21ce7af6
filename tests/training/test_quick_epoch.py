"""A step by the short way is Lightning's own: the same hooks in the same order, counts, weights, logged figures and checkpoints."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

import components
from components.training.task.language_modeling import LanguageModeling
from components.training.trainer import _epoch

TINY = {
    "model": {"n_layers": 1, "d_model": 16, "context_length": 8, "attention": {"n_heads": 2, "n_kv_heads": 2}},
    "data": {"name": "text", "path": "text.txt"},
    "tokenizer": "byte",
    "optimizer": "adamw",
    "task": {"batch_size": 4, "samples": 0, "judged_samples": 0, "validation_every": 5, "validation_batches": 1},
    "trainer": {
        "max_steps": 12,
        "accelerator": "cpu",
        "precision": "32-true",
        "gradient_clip_val": 0.5,
        "log_every_n_steps": 2,
    },
    "callbacks": {"hears": True},
}
HEARD = [n for n in vars(pl.Callback) if n.startswith("on_") and "checkpoint" not in n and n != "on_exception"]


class Hears(pl.Callback):
    """Notes each hook with what can be seen in it, and logs by Lightning's way."""

    made: list[Hears] = []

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.counts: dict[str, object] = {}
        self.weights: list[torch.Tensor] = []
        self.figures: dict[str, torch.Tensor] = {}
        self.made.append(self)

    def on_fit_end(self, trainer, pl_module):
        self.counts = trainer.fit_loop.state_dict()
        self.weights = [p.detach().clone() for p in pl_module.parameters()]
        self.figures = {n: v for n, v in trainer.callback_metrics.items() if "second" not in n}


def _heard(name):
    def hook(self, trainer, pl_module, *args):
        told = [a["loss"] if isinstance(a, dict) else a for a in args]
        losses = [a.item() for a in told if isinstance(a, torch.Tensor)]
        grads = sum(p.grad is not None for p in pl_module.parameters())
        self.seen.append((name, pl_module._current_fx_name, trainer.global_step, losses, grads))
        if name == "on_train_batch_end":
            pl_module.log("told", float(trainer.global_step), on_step=True, on_epoch=True, batch_size=4)

    return hook


for name in HEARD:
    if name not in vars(Hears):
        setattr(Hears, name, _heard(name))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(short, **trainer)``: what a run's callback has heard, and whether its steps were taken by the short way."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("\n\n".join(f"The tree {i} and the stone by the river. " for i in range(80)))
    components.register("callback", "hears")(Hears)
    plain = _epoch.plain_step

    def runs(short=True, **trainer):
        answers = []
        monkeypatch.setattr(_epoch, "plain_step", lambda t: answers.append(short and plain(t)) or answers[-1])
        components.train("llama_tiny", {**TINY, "trainer": {**TINY["trainer"], **trainer}}, quiet=True)
        return Hears.made[-1], answers

    return runs


@pytest.mark.parametrize(
    "trainer",
    [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}, {"precision": "64-true", "gradient_clip_val": None}],
)
def test_it_is_lightnings_own(run, trainer):
    (short, by_short), (long, by_long) = run(**trainer), run(short=False, **trainer)
    assert all(by_short)
    assert by_short
    assert not any(by_long)
    assert short.seen == long.seen
    assert short.counts == long.counts
    assert all(torch.equal(a, b) for a, b in zip(short.weights, long.weights, strict=True))
    assert short.figures == long.figures
    assert "told_epoch" in short.figures
    names = [s[0] for s in short.seen]
    assert names.count("on_train_batch_end") == 12 * trainer.get("accumulate_grad_batches", 1)
    assert names.count("on_before_zero_grad") == 12 == names.count("on_before_optimizer_step")
    assert {"on_before_backward", "on_after_backward", "on_validation_end"} <= {*names}


def test_what_a_profiler_measures_is_lightnings_own(run):
    assert run(profiler="simple")[1] == [False]


def test_an_optimizer_step_of_ones_own_is_called_as_ever(run, monkeypatch):
    clipped = []
    monkeypatch.setattr(LanguageModeling, "optimizer_step", lambda *given: given[3].step(given[4]))
    clip = LanguageModeling.configure_gradient_clipping
    monkeypatch.setattr(LanguageModeling, "configure_gradient_clipping", lambda *a, **k: clipped.append(clip(*a, **k)))
    assert run()[1] == []
    assert len(clipped) == 12
