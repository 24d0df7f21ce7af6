"""The state of every optimizer fits its own weights after a step: the check on resuming refuses damage, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch

from components.core import registry
from components.core.makers import make
from components.training import resumable
from components.training.tuning import tuned

MODEL = {
    "name": "decoder",
    "d_model": 16,
    "n_layers": 1,
    "context_length": 8,
    "attention": {"name": "gqa", "n_heads": 2},
    "ffn": {"name": "moe", "n_experts": 4},
}
CONFIGS = {name: {"name": name} for name in sorted(registry.names("optimizer"))} | {
    "sgd with momentum": {"name": "sgd", "momentum": 0.9},
    "ema of adafactor": {"name": "ema", "inner": {"name": "adafactor"}},
    "skip_step of muon": {"name": "skip_step", "inner": {"name": "muon"}},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_what_an_optimizer_keeps_fits_its_weights(config):
    model = make(MODEL, "model", vocab_size=12)
    full = {"optimizer": config}
    optimizer = make(config, "optimizer", weights=tuned(model, full))
    for _ in range(2):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    held = {"optimizer_states": [state], "components": {"optimizer_tensors": resumable.tensors_in(state["state"])}}
    with torch.device("meta"):
        bare = make(MODEL, "model", vocab_size=12)
    assert resumable._optimizer(held, bare, full) == ""
    kept = [(k, n) for k, v in state["state"].items() for n, t in v.items() if isinstance(t, torch.Tensor) and t.numel() > 1]
    for key, name in kept[:1]:
        state["state"][key][name] = torch.zeros(7, 3)
        assert f"the optimizer's {name} of " in resumable._optimizer(held, bare, full)
        del state["state"][key][name]
        assert "tensors, and should have" in resumable._optimizer(held, bare, full)
