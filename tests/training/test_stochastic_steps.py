"""A run with a stochastic mixer: the same however its steps are cut, recomputed or compiled, and it goes on as it would have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.runs.resume import find_resumed
from components.training.experiment import Job, fit

pytestmark = pytest.mark.usefixtures("warm_processes")

MIXERS = [{"name": "gqa", "n_heads": 2, "dropout": 0.1}, "lstm", {"name": "gated_delta_net", "n_heads": 2}]


def config(tiny, task=None, attention=None, **trainer):
    model = {"attention": {"name": "stochastic", "mixers": MIXERS, **(attention or {})}, "position": "none"}
    settings = {"max_steps": 8, "precision": "64-true", **trainer}
    return tiny(model=model, task=task or {}, trainer=settings, schedule={"name": "constant"})


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def trained(tiny, *given, **trainer):
    return fit(Job(config(tiny, *given, **trainer), "stochastic", quiet=True))


def apart(one, other) -> float:
    return max((w - other[n]).abs().max().item() for n, w in one.items())


def test_how_a_step_is_cut_or_recomputed_changes_nothing(tiny):
    one = weights(trained(tiny).folder)
    assert apart(one, weights(trained(tiny, accumulate_grad_batches=4).folder)) < 1e-9
    for asked in (True, "selective"):
        assert apart(one, weights(trained(tiny, {"activation_checkpointing": asked}).folder)) == 0.0
    assert apart(one, weights(trained(tiny, {"dropout_by": "rank"}).folder)) > 1e-6


def test_layers_that_are_compiled_draw_the_same(tiny, monkeypatch):
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: plain(self, backend="aot_eager", **how))
    torch._dynamo.reset()
    assert apart(weights(trained(tiny).folder), weights(trained(tiny, {"compile": "layers"}).folder)) < 1e-9


def test_a_run_goes_on_as_it_would_have(tiny):
    whole = trained(tiny)
    first = trained(tiny, max_steps=5)
    resumed = find_resumed(str(first.folder), [], first.folder.parent)
    more = {**resumed.config, "trainer": {**resumed.config["trainer"], "max_steps": 8, "accumulate_grad_batches": 2}}
    fit(Job(more, "stochastic", resumed=resumed, quiet=True))
    assert apart(weights(whole.folder), weights(first.folder)) < 1e-9


def test_nothing_is_said_of_weights_whose_turn_it_was_not(tiny):
    done = trained(tiny, attention={"weights": [1.0, 1e-9, 1e-9]}, max_steps=3)
    assert "unread_weights" not in done.figures


def test_what_is_validated_is_the_main_mixer(tiny):
    """One that is never drawn stays as it began, and decides about validation alone."""
    never = {"weights": [1.0, 1e-9, 1e-9]}
    losses = [trained(tiny, attention={**never, "main": main}).figures["val_loss"] for main in (0, 1)]
    assert losses[0] < losses[1]
