"""Inits by fan, by depth and by name: their spread for each role, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from components import build
from components.cli import main
from components.core.errors import UserError
from components.core.registry import static_entries
from components.core.weights import Experts, Weight, generator_for, initialise, roles

D, LAYERS = 64, 3
INITS = sorted(n for kind, n in static_entries() if kind == "init")


def model(init, **options):
    sizes = {"vocab_size": 300, "d_model": D, "n_layers": LAYERS, "context_length": 64}
    made = build(
        "model", "decoder", **sizes, **{"attention": {"name": "gqa", "n_heads": 4, "bias": ["q"]}, "init": init, **options}
    )
    initialise(made, made.init, seed=3)
    return {w.name: w for w in roles(made)}


def close(weight, std, rel=0.05):
    assert weight.parameter.std().item() == pytest.approx(std, rel=rel), weight.name


def layer(weights, index, name):
    return weights[f"stack.layers.{index}.block.{name}.weight"]


def test_small():
    weights = model("small")
    for name in ("embedding.table.weight", "head.logits.weight"):
        close(weights[name], math.sqrt(2 / (5 * D)))
    close(layer(weights, 0, "attention.q"), math.sqrt(2 / (5 * D)))
    close(layer(weights, 2, "ffn.out"), 2 / (LAYERS * math.sqrt(D)))


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_xavier_and_kaiming(distribution):
    weights = model({"name": "xavier", "gain": 0.5, "distribution": distribution})
    close(layer(weights, 0, "ffn.up"), 0.5 * math.sqrt(2 / (5 * D)))
    close(weights["head.logits.weight"], 0.5 * math.sqrt(2 / (300 + D)))
    close(weights["embedding.table.weight"], 0.02)
    for fan, width in (("in", 4 * D), ("out", D)):
        weights = model({"name": "kaiming", "fan": fan, "distribution": distribution})
        close(layer(weights, 0, "ffn.out"), math.sqrt(2 / width))
        if distribution == "uniform":
            bound = math.sqrt(6 / width)
            assert 0.99 * bound < layer(weights, 0, "ffn.out").parameter.abs().max() <= bound


def test_trunc_normal():
    weights = model({"name": "trunc_normal", "std": 0.1, "cutoff": 1.0, "depth": "layer"})
    cut = 0.5396  # of a normal distribution cut at one standard deviation
    for index in range(LAYERS):
        out = layer(weights, index, "attention.out")
        close(out, cut * 0.1 / math.sqrt(2 * (index + 1)))
        assert out.parameter.abs().max() <= 0.1 / math.sqrt(2 * (index + 1))
    close(weights["embedding.table.weight"], cut * 0.1)
    weights = model({"name": "trunc_normal", "std": "fan_in", "depth": "total"})
    close(layer(weights, 0, "attention.q"), D**-0.5)
    close(layer(weights, 0, "ffn.out"), (4 * D) ** -0.5 / math.sqrt(2 * LAYERS))
    close(layer(model({"name": "trunc_normal"}), 0, "ffn.out"), 0.02)


def test_orthogonal():
    weights = model({"name": "orthogonal", "gain": 2.0, "out_gain": 0.5})
    up, out, q = (layer(weights, 0, n).parameter.detach() for n in ("ffn.up", "ffn.out", "attention.q"))
    for matrix, gain in ((up.T @ up, 4.0), (out @ out.T, 1.0), (q @ q.T, 4.0)):
        torch.testing.assert_close(matrix, gain * torch.eye(D), rtol=1e-4, atol=1e-5)
    close(weights["embedding.table.weight"], 0.02)
    experts = Experts(3, 8, 5)
    value = build("init", "orthogonal")(Weight("experts.weight", experts.weight, "hidden", (), experts), generator_for(0, "x"))
    for matrix in value:
        torch.testing.assert_close(matrix.T @ matrix, torch.eye(5), rtol=1e-4, atol=1e-5)
    assert not torch.equal(value[0], value[1])


def test_deep_norm():
    weights = model("deep_norm")
    beta, square = (8 * LAYERS) ** -0.25, math.sqrt(1 / D)
    for name, gain in (("q", 1.0), ("k", 1.0), ("v", beta), ("out", beta)):
        close(layer(weights, 1, f"attention.{name}"), gain * square)
    for name in ("up", "out"):
        close(layer(weights, 1, f"ffn.{name}"), beta * math.sqrt(2 / (5 * D)))
    node = {"name": "deep_norm", "sides": "two", "encoder_layers": 4, "decoder_layers": 2}
    both = build("model", "encoder_decoder", vocab_size=300, d_model=D, context_length=64, init=node)
    found = {w.name: w for w in roles(both)}
    close(found["encoder.layers.0.block.attention.v.weight"], 0.87 * (4**4 * 2) ** (-1 / 16) * square)
    close(found["decoder.layers.0.block.cross.out.weight"], 24**-0.25 * square)
    close(found["decoder.layers.0.block.cross.k.weight"], square)


def test_rules_first_match_wins_and_constants_stay():
    rules = {
        "*.1.block.ffn.out.weight": 0.0,
        "*.ffn.*": 0.3,
        "*.attention.?.weight": {"name": "xavier", "gain": 0.1},
        "head.*": "small",
    }
    weights = model({"name": "rules", "rules": rules, "base": {"name": "normal", "std": 0.05}})
    assert (layer(weights, 1, "ffn.out").parameter == 0).all()
    close(layer(weights, 0, "ffn.out"), 0.3)
    close(layer(weights, 1, "ffn.up"), 0.3)
    close(layer(weights, 0, "attention.k"), 0.1 * math.sqrt(1 / D))
    close(layer(weights, 0, "attention.out"), 0.05)
    close(weights["head.logits.weight"], math.sqrt(2 / (5 * D)))
    assert (weights["stack.layers.0.block.attention.q.bias"].parameter == 0).all()
    assert (weights["stack.final_norm.weight"].parameter == 1).all()
    everything = model({"name": "rules", "rules": {"*": 0.01}})
    assert (everything["stack.final_norm.weight"].parameter == 1).all()
    plain, same = model("depth_scaled"), model("rules")
    assert all(torch.equal(plain[n].parameter, same[n].parameter) for n in plain)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"*.ffn.gate.weight": 0.1}, r"'\*\.ffn\.gate\.weight': it names no matrix of this model; names are such as embedding"),
        ({"*.final_norm.weight": 0.1}, "it names no matrix"),
        ({"*.ffn.*": 0.1, "*.ffn.out.weight": 0.0}, r"every matrix it names is named by '\*\.ffn\.\*' before it"),
        ({"*": -0.1}, "a standard deviation of at least 0, or an init by name"),
        ({"*": True}, "a standard deviation of at least 0, or an init by name"),
        ({"*": "xaver"}, "xavier"),
        ({"*": {"name": "xavier", "gains": 2.0}}, "gains"),
    ],
)
def test_rules_that_cannot_be(rules, said):
    with pytest.raises(UserError, match=said):
        model({"name": "rules", "rules": rules})
    if "names" in said:
        with pytest.raises(UserError, match=said), torch.device("meta"):
            model({"name": "rules", "rules": rules})


def test_rules_from_the_command_line(capsys):
    words = ["validate", "recipe=gpt_python", "model/init=rules"]
    assert main([*words, "model.init.rules={*.ffn.*: {name: xavier, gain: 0.5}, head.*: 0}"]) == 0
    assert "model.init: zero_out -> rules" in capsys.readouterr().out
    assert main([*words, "model.init.rules={*.fnn.*: 0.01}"]) != 0
    assert "'*.fnn.*': it names no matrix of this model" in "".join(capsys.readouterr())


def test_rules_pass_rates_on():
    weights = model({"name": "rules", "rules": {"*.ffn.*": 0.02}, "base": {"name": "mup", "base_width": 32}})
    init = build("init", "rules", d_model=D, n_layers=LAYERS, rules={"*.ffn.*": 0.02}, base={"name": "mup", "base_width": 32})
    assert init.lr_scale(layer(weights, 0, "ffn.up")) == 1.0
    assert init.lr_scale(layer(weights, 0, "attention.q")) == 0.5


@pytest.mark.parametrize("init", INITS)
def test_default_dtype_and_device_decide_no_value(init):
    plain = model(init)
    torch.set_default_dtype(torch.bfloat16)
    try:
        other = build("model", "decoder", vocab_size=300, d_model=D, n_layers=LAYERS, context_length=64, init=init,
                      attention={"name": "gqa", "n_heads": 4, "bias": ["q"]}).float()  # fmt: skip
        with torch.device("meta"):  # a default that reaches into init would leave no values
            initialise(other, other.init, seed=3)
    finally:
        torch.set_default_dtype(torch.float32)
    for weight in roles(other):
        assert torch.equal(weight.parameter, plain[weight.name].parameter), weight.name
