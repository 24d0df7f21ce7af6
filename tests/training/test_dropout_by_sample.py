"""task.dropout_by: with dropout a run is the same however its steps are cut, checkpointed or compiled, and goes on as it would have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.functional import attention_choice, pieces, products
from components.runs.resume import find_resumed
from components.training.experiment import Job, fit

pytestmark = pytest.mark.usefixtures("warm_processes")

MODEL = {
    "embedding": {"name": "token", "dropout": 0.1},
    "attention": {"name": "gqa", "n_heads": 2, "dropout": 0.2},
    "residual": {"name": "drop_path", "rate": 0.3, "dropout": 0.1},
}


def weights(tiny, task=None, **trainer):
    settings = {"max_steps": 8, "precision": "64-true", **trainer}
    done = fit(Job(tiny(model=MODEL, task=task or {}, trainer=settings, schedule={"name": "constant"}), "dropped", quiet=True))
    return done, torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def apart(one, other) -> float:
    return max((w - other[n]).abs().max().item() for n, w in one.items())


def test_accumulation_and_checkpointing_change_nothing(tiny):
    _, one = weights(tiny)
    assert apart(one, weights(tiny, accumulate_grad_batches=4)[1]) < 1e-9
    for asked in (True, 2, "selective"):
        assert apart(one, weights(tiny, {"activation_checkpointing": asked})[1]) == 0.0
    assert apart(one, weights(tiny, {"dropout_by": "rank"})[1]) > 1e-4
    assert apart(weights(tiny, {"dropout_by": "rank"}, accumulate_grad_batches=4)[1], one) > 1e-4


def test_attention_in_pieces_drops_what_it_drops_at_once(tiny, monkeypatch):
    """So a run that was begun with squares goes on without; and however steps of pieces are cut, checkpointed or compiled, they are the same."""
    _, whole = weights(tiny)
    monkeypatch.setattr(attention_choice, "DROPPED_AT_ONCE_UP_TO", 1)
    monkeypatch.setattr(pieces, "SCORES_AT_ONCE", 300)  # which divides neither texts nor heads
    real, taken = products.pieces_of, []
    monkeypatch.setattr(products, "pieces_of", lambda *a: taken.append(a) or real(*a))
    _, one = weights(tiny)
    assert taken
    assert apart(one, whole) < 1e-9
    assert apart(one, weights(tiny, accumulate_grad_batches=4)[1]) < 1e-9
    for asked in (True, "selective"):
        assert apart(one, weights(tiny, {"activation_checkpointing": asked})[1]) == 0.0
    by_rank = [weights(tiny, {"dropout_by": "rank", "activation_checkpointing": asked})[1] for asked in (False, True)]
    assert apart(*by_rank) == 0.0
    assert apart(one, by_rank[0]) > 1e-4


def test_layers_that_are_compiled_draw_the_same(tiny, monkeypatch):
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: plain(self, backend="aot_eager", **how))
    _, one = weights(tiny)
    assert apart(one, weights(tiny, {"compile": "layers"})[1]) < 1e-9
    assert apart(one, weights(tiny, {"compile": "layers", "activation_checkpointing": True})[1]) < 1e-9


def test_a_run_goes_on_as_it_would_have(tiny):
    """On another cut of its steps too; a run that was begun before there was the option goes on with draws by samples."""
    _, whole = weights(tiny)
    first, _ = weights(tiny, max_steps=5)
    resumed = find_resumed(str(first.folder), [], first.folder.parent)
    config = {**resumed.config, "trainer": {**resumed.config["trainer"], "max_steps": 8, "accumulate_grad_batches": 2}}
    assert "dropout_by" not in config["task"]
    fit(Job(config, "dropped", resumed=resumed, quiet=True))
    assert apart(whole, torch.load(first.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]) < 1e-9
