"""What every optimizer must do: take weights by role, decay by role, resume exactly, work with a closure."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict

from components import build
from components.core import registry
from components.core.errors import UserError
from components.core.weights import roles

NAMES = registry.names("optimizer")
NESTED = ("ema", "skip_step")  # around another one, which has the options
# learning rates under which the small model learns in 60 steps
RATES = {"adamw": 0.03, "adagrad": 0.1, "adam": 0.03, "adamax": 0.05, "asgd": 0.5, "ema": 0.03, "lion": 0.01, "nadam": 0.03,
         "radam": 0.05, "schedule_free": 0.05, "skip_step": 0.03, "soap": 0.03}  # fmt: skip


def options_of(name, **options):
    return {"inner": {"name": "adamw", **options}} if name in NESTED else options


def train(model, optimizer, ids, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(ids), (ids.flatten() + 1) % 11).backward()
        optimizer.step()


def test_there_are_optimizers():
    assert {"adamw", "sgd", "muon"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_is_one_torch_optimizer_over_every_weight(name, weights):
    optimizer = build("optimizer", name, weights=weights)
    assert isinstance(optimizer, torch.optim.Optimizer)
    held = [id(p) for g in optimizer.param_groups for p in g["params"]]
    assert sorted(held) == sorted(id(w.parameter) for w in weights)
    assert all(g["initial_lr"] == g["lr"] for g in optimizer.param_groups)


@pytest.mark.parametrize("name", NAMES)
def test_learns(name, model, weights, ids):
    options = options_of(name, lr=RATES[name]) if name in RATES else {}
    train(model, build("optimizer", name, weights=weights, **options), ids, 60)
    assert F.cross_entropy(model(ids), (ids.flatten() + 1) % 11) < 0.5


@pytest.mark.parametrize("name", NAMES)
def test_resumes_exactly(name, model, weights, ids):
    optimizer = build("optimizer", name, weights=weights)
    train(model, optimizer, ids, 3)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    resumed = copy.deepcopy(model)
    train(model, optimizer, ids, 3)
    again = build("optimizer", name, weights=list(roles(resumed)))
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True)["optimizer"])
    train(resumed, again, ids, 3)
    for (n, a), b in zip(model.named_parameters(), resumed.parameters()):
        assert torch.equal(a, b), n


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flat", [False, True])
def test_resumes_exactly_from_a_state_keyed_by_names(name, flat, model, weights, ids):
    """The form of distributed checkpoints."""
    optimizer = build("optimizer", name, weights=weights)
    train(model, optimizer, ids, 3)
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    state = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    resumed = copy.deepcopy(model)
    again = build("optimizer", name, weights=list(roles(resumed)))
    set_optimizer_state_dict(resumed, again, state, options=options)
    train(model, optimizer, ids, 2)
    train(resumed, again, ids, 2)
    for (n, a), b in zip(model.named_parameters(), resumed.parameters()):
        assert torch.equal(a, b), n


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("embedding", [False, True])
def test_decays_by_role_only(name, embedding, weights):
    decay = {"weight_decay": 0.5} | ({"adamw_weight_decay": 0.5} if name == "muon" else {})
    before = {w.name: w.parameter.detach().clone() for w in weights}
    if name == "rprop":
        assert "weight_decay" not in registry.entry("optimizer", name).signature.options
        return
    optimizer = build("optimizer", name, weights=weights, **options_of(name, lr=0.1, decay_embedding=embedding, **decay))
    for _ in range(2):  # soap's first step only looks
        for w in weights:
            w.parameter.grad = torch.zeros_like(w.parameter)
        optimizer.step()
    shrunk = {w.name for w in weights if not torch.equal(w.parameter, before[w.name])}
    expected = {
        w.name for w in weights if w.role in ("hidden", "out", "head", "router") or (embedding and w.role == "embedding")
    }
    assert shrunk == expected


@pytest.mark.parametrize("name", NAMES)
def test_closure_is_called_with_gradients_and_its_loss_returned(name, model, weights, ids):
    optimizer = build("optimizer", name, weights=weights)
    before = model.head.weight.detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids), (ids.flatten() + 1) % 11)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0
    assert not torch.equal(before, model.head.weight)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_parameters_and_those_without_gradient_stay(name, model, weights, ids):
    model.q.weight.requires_grad_(False)
    frozen = model.q.weight.detach().clone()
    optimizer = build("optimizer", name, weights=weights)
    assert not any(p is model.q.weight for g in optimizer.param_groups for p in g["params"])
    train(model, optimizer, ids, 2)
    model.k.weight.grad = None
    kept = model.k.weight.detach().clone()
    optimizer.step()
    assert torch.equal(model.q.weight, frozen)
    assert torch.equal(model.k.weight, kept)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_train_is_said(name, model, weights):
    model.requires_grad_(False)
    with pytest.raises(UserError, match="nothing is left to train"):
        build("optimizer", name, weights=weights)


def test_adamw_equals_torch_and_is_fused_where_it_can_be(model, weights, ids):
    optimizer = build("optimizer", "adamw", weights=weights, lr=1e-2, weight_decay=0.0)
    assert all(g["fused"] for g in optimizer.param_groups)
    plain = copy.deepcopy(model)
    train(model, optimizer, ids, 5)
    train(plain, torch.optim.AdamW(plain.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0), ids, 5)
    for a, b in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_adamw_on_the_meta_device_takes_a_step_unfused(small_class):
    with torch.device("meta"):
        model = small_class()
    optimizer = build("optimizer", "adamw", weights=list(roles(model)))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert optimizer.state[model.head.weight]["exp_avg"].device.type == "meta"


def test_sgd_refuses_nesterov_without_momentum(weights):
    with pytest.raises(UserError, match="momentum"):
        build("optimizer", "sgd", weights=weights, momentum=0.0, nesterov=True)


@pytest.mark.parametrize(("name", "option"), [("adamw", "betas"), ("muon", "adamw_betas")])
@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.5), (-0.1, 0.9), (0.9,)])
def test_betas_that_are_no_two_decays_are_refused(name, option, betas, weights):
    with pytest.raises(UserError, match=r"at least 0 and below 1|of length 2"):
        build("optimizer", name, weights=weights, **{option: betas})
