"""EMA and skip-step around another optimizer: one state, exact swaps, and a spike that leaves no trace."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F

from components import build
from components.core.errors import UserError
from components.core.weights import roles
from components.parts.optimizer._nested import averaging, layers, tell_norm


def train(model, optimizer, ids, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(ids), (ids.flatten() + 1) % 11).backward()
        optimizer.step()


def values(model):
    return [p.detach().clone() for p in model.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("warm", [False, True])
def test_ema_is_its_formula_and_training_does_not_notice(model, ids, warm):
    twin = copy.deepcopy(model)
    optimizer = build("optimizer", "ema", weights=list(roles(model)), inner={"name": "sgd", "lr": 0.1}, decay=0.5, warm=warm)
    plain = build("optimizer", "sgd", weights=list(roles(twin)), lr=0.1)
    average = values(model)
    for t in range(1, 5):
        train(model, optimizer, ids, 1)
        train(twin, plain, ids, 1)
        decay = min(0.5, (1 + t) / (10 + t)) if warm else 0.5
        average = [decay * a + (1 - decay) * p for a, p in zip(average, values(twin))]
    assert same(values(model), values(twin))
    trained = values(model)
    optimizer.eval()
    for a, b in zip(values(model), average):
        torch.testing.assert_close(a, b)
    optimizer.eval()  # twice is once
    optimizer.train()
    assert same(values(model), trained)


@pytest.mark.parametrize("name", ["ema", "schedule_free"])
def test_saved_while_averaged_goes_on_as_if_never_interrupted(name, model, ids):
    optimizer = build("optimizer", name, weights=list(roles(model)))
    train(model, optimizer, ids, 3)
    before = values(model)
    optimizer.eval()
    averaged = values(model)
    assert not same(before, averaged)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    with pytest.raises(RuntimeError, match=r"optimizer\.train\(\)"):
        optimizer.step()
    optimizer.train()
    assert same(values(model), before)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = copy.deepcopy(model)
    resumed.load_state_dict(saved["model"])
    assert same(values(resumed), averaged)
    again = build("optimizer", name, weights=list(roles(resumed)))
    again.load_state_dict(saved["optimizer"])
    again.train()
    train(model, optimizer, ids, 3)
    train(resumed, again, ids, 3)
    assert same(values(model), values(resumed))
    optimizer.eval()
    again.eval()
    assert same(values(model), values(resumed))


def test_ema_of_bf16_weights_is_fp32_and_training_weights_come_back(model, ids):
    model.bfloat16()
    optimizer = build("optimizer", "ema", weights=list(roles(model)))
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(ids).float(), (ids.flatten() + 1) % 11).backward()
        optimizer.step()
    before = values(model)
    assert all(s["average"].dtype == torch.float32 for s in optimizer.state.values())
    optimizer.eval()
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    optimizer.train()
    assert same(values(model), before)


def test_a_spike_is_skipped_and_leaves_no_trace(model, weights, ids):
    optimizer = build("optimizer", "skip_step", weights=weights, window=8, sigma=3.0, inner={"name": "adamw", "lr": 1e-3})
    train(model, optimizer, ids, 8)
    before, state = values(model), copy.deepcopy([dict(s) for s in optimizer.state.values()])
    for factor in (100.0, float("nan"), float("inf")):
        optimizer.zero_grad()
        (F.cross_entropy(model(ids), ids.flatten()) * factor).backward()
        optimizer.step()
        assert same(values(model), before)
    for old, new in zip(state, optimizer.state.values()):
        assert all(torch.equal(old[k], new[k]) for k in new)
    assert optimizer.param_groups[0]["skipped"] == 3
    assert len(optimizer.param_groups[0]["norms"]) == 8
    train(model, optimizer, ids, 1)
    assert not same(values(model), before)


def test_nothing_is_skipped_before_half_of_the_window_is_known(model, weights, ids):
    optimizer = build("optimizer", "skip_step", weights=weights, window=8)
    train(model, optimizer, ids, 3)
    before = values(model)
    (F.cross_entropy(model(ids), ids.flatten()) * 1000).backward()
    optimizer.step()
    assert not same(values(model), before)


def test_the_norm_before_clipping_counts_where_it_is_told(model, weights, ids):
    optimizer = build("optimizer", "skip_step", weights=weights, window=4)
    train(model, optimizer, ids, 4)
    before = values(model)
    tell_norm(optimizer, torch.tensor(1e6))  # clipped gradients look as always
    train(model, optimizer, ids, 1)
    assert same(values(model), before)
    train(model, optimizer, ids, 1)  # told once, used once
    assert not same(values(model), before)


def test_the_norm_is_that_of_all_gradients_together(model, weights, ids):
    optimizer = build("optimizer", "skip_step", weights=weights)
    train(model, optimizer, ids, 1)
    expected = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert optimizer.param_groups[0]["norms"] == [pytest.approx(float(expected), rel=1e-6)]


def test_one_schedule_moves_all_layers(model, weights, ids):
    inner = {"name": "ema", "inner": {"name": "sgd", "lr": 0.5}}
    optimizer = build("optimizer", "skip_step", weights=weights, inner=inner)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step))
    train(model, optimizer, ids, 1)
    scheduler.step()
    assert [type(o).__name__ for o in layers(optimizer)] == ["SkipStep", "EMA", "SGD"]
    assert {g["lr"] for o in layers(optimizer) for g in o.param_groups} == {0.25}
    assert averaging(optimizer) is optimizer.inner
    twin = copy.deepcopy(model)
    again = build("optimizer", "skip_step", weights=list(roles(twin)), inner=inner)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert all(o.state is again.state and o.param_groups is again.param_groups for o in layers(again))
    train(model, optimizer, ids, 3)
    train(twin, again, ids, 3)
    assert same(values(model), values(twin))


def test_what_is_not_meant_is_refused(weights):
    with pytest.raises(UserError, match="average of an average"):
        build("optimizer", "ema", weights=weights, inner="schedule_free")
    with pytest.raises(UserError, match="skip_step goes around ema"):
        build("optimizer", "ema", weights=weights, inner="skip_step")
    assert averaging(build("optimizer", "skip_step", weights=weights)) is None
