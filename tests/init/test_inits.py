"""Initial values by role: their spread, what starts at a constant, and that nobody else's draws matter."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.core.weights import initialise, roles


def model(init, **options):
    m = build("model", "decoder", vocab_size=300, d_model=64, n_layers=3, context_length=64, init=init, **options)
    initialise(m, m.init, seed=3)
    return {w.name: w for w in roles(m)}


def spread(weights, role):
    return torch.cat([w.parameter.detach().flatten() for w in weights.values() if w.role == role]).std().item()


def test_normal():
    weights = model({"name": "normal", "std": 0.05}, attention={"name": "gqa", "n_heads": 4, "bias": ["q"]})
    for role in ("embedding", "hidden", "out", "head"):
        assert spread(weights, role) == pytest.approx(0.05, rel=0.03)
    assert all((w.parameter == 0).all() for w in weights.values() if w.role == "bias")
    assert all((w.parameter == 1).all() for w in weights.values() if w.role == "scale")


def test_depth_scaled():
    weights = model("depth_scaled")
    assert spread(weights, "hidden") == pytest.approx(0.02, rel=0.03)
    assert spread(weights, "out") == pytest.approx(0.02 / 6**0.5, rel=0.03)


def test_zero_out():
    weights = model({"name": "zero_out", "gain": 1.0})
    assert spread(weights, "out") == 0.0
    assert spread(weights, "head") == 0.0
    q = weights["stack.layers.0.block.attention.q.weight"]
    assert q.fan_in == 64
    assert q.parameter.std().item() == pytest.approx(1 / 8, rel=0.05)
    up = weights["stack.layers.0.block.ffn.out.weight"]
    assert up.fan_in == 256


def test_seeds_and_names_decide():
    a, b, c = model("normal"), model("normal"), model("normal", ffn="glu")
    assert all(torch.equal(a[n].parameter, b[n].parameter) for n in a)
    assert torch.equal(
        a["stack.layers.2.block.attention.v.weight"].parameter, c["stack.layers.2.block.attention.v.weight"].parameter
    )
    assert not torch.equal(
        a["stack.layers.1.block.attention.v.weight"].parameter, a["stack.layers.2.block.attention.v.weight"].parameter
    )


def test_a_parameter_that_no_part_declares_is_an_error():
    m = build("model", "decoder", vocab_size=30, d_model=32, context_length=8)
    m.stack.layers[0].block.extra = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match=r"block\.extra: no part declares its axes"):
        list(roles(m))


def test_default_dtype_and_device_decide_nothing():
    for init in ("normal", "depth_scaled", "zero_out"):
        plain = model(init)
        torch.set_default_dtype(torch.bfloat16)
        try:
            other = build("model", "decoder", vocab_size=300, d_model=64, n_layers=3, context_length=64, init=init).float()
            with torch.device("meta"):  # a default that reaches into init would leave no values
                initialise(other, other.init, seed=3)
        finally:
            torch.set_default_dtype(torch.float32)
        for weight in roles(other):
            assert torch.equal(weight.parameter, plain[weight.name].parameter), weight.name


def test_a_wrapper_changes_no_draw():
    one = build("model", "decoder", vocab_size=30, d_model=32, context_length=8)
    other = build("model", "decoder", vocab_size=30, d_model=32, context_length=8)
    wrapped = torch.nn.ModuleDict({"inside": other})
    initialise(one, one.init, seed=4)
    initialise(wrapped, other.init, seed=4)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
