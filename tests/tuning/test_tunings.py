"""Which weights learn and how fast: patterns, depths, and that every optimizer follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hosts import parts

from components import build
from components.core import registry
from components.core.errors import UserError
from components.core.sockets import Batch
from components.core.weight_names import summarize_names
from components.core.weights import roles
from components.training.tuning import freeze, rate_lines, tuned

OPTIMIZERS = [p.partition("/")[2] for p in parts("optimizer")]


def model(name: str = "decoder", **options):
    sizes = {"vocab_size": 30, "d_model": 16, "n_layers": 3, "context_length": 8}
    return build("model", name, **{**sizes, "attention": {"name": "gqa", "n_heads": 2}, **options})


def rates(tuning: dict, of=None) -> dict[str, float]:
    of = model() if of is None else of
    return {w.name: w.rate for w in tuned(of, {"tuning": tuning})}


def test_all_and_a_config_that_says_nothing_are_one_for_everything():
    assert set(rates({"name": "all"}).values()) == {1.0}
    assert {w.rate for w in tuned(model(), {})} == {1.0}


def test_frozen_takes_modules_names_and_wildcards():
    found = rates({"name": "frozen", "patterns": ["embedding", "stack.layers.0", "*.attention.q.weight"], "but": []})
    frozen = {n for n, rate in found.items() if rate == 0.0}
    assert frozen == {
        n for n in found if n.startswith(("embedding.", "stack.layers.0.")) or n.endswith("block.attention.q.weight")
    }
    assert {"stack.layers.1.block.attention.q.weight", "embedding.table.weight"} < frozen < set(found)
    only_head = rates({"name": "frozen"})
    assert {n for n, rate in only_head.items() if rate} == {"head.logits.weight"}
    eleven = rates({"name": "frozen", "patterns": ["stack.layers.1"], "but": []}, model(n_layers=12))
    assert {n.split(".")[2] for n, rate in eleven.items() if rate == 0.0} == {"1"}


def test_a_pattern_that_matches_nothing_is_an_error_with_what_there_is():
    with pytest.raises(UserError, match=r"tuning.patterns: 'stack.layer.0' matches nothing.*did you mean 'stack.layers.0'"):
        rates({"name": "frozen", "patterns": ["stack.layer.0"]})
    with pytest.raises(UserError, match=r"tuning.but: 'haed' matches nothing.*did you mean 'head'"):
        rates({"name": "frozen", "but": ["haed"]})
    with pytest.raises(UserError, match="every weight of the model is frozen"):
        freeze(model(), {"tuning": {"name": "frozen", "but": []}})


def test_layer_decay_is_one_factor_for_each_step_down():
    found = rates({"name": "layer_decay", "decay": 0.5}, model(embedding_norm="rms", position="learned"))
    want = {"head": 1.0, "stack.final_norm": 1.0, "stack.layers.2": 0.5, "stack.layers.1": 0.25, "stack.layers.0": 0.125}
    want |= {"embedding": 0.0625, "stack.embedding_norm": 0.0625, "stack.positions": 0.0625}
    for name, rate in found.items():
        (expected,) = {value for path, value in want.items() if name.startswith(path + ".")}
        assert rate == expected, name
    # each side counts from its own last layer
    both = rates({"name": "layer_decay", "decay": 0.5}, model("encoder_decoder", encoder={"name": "layers", "n_layers": 1}))
    depth = {name.rsplit(".block", 1)[0]: rate for name, rate in both.items() if ".block" in name}
    assert depth == {"encoder.layers.0": 0.5, "decoder.layers.0": 0.125, "decoder.layers.1": 0.25, "decoder.layers.2": 0.5}
    assert both["embedding.table.weight"] == 0.0625
    assert {n for n, rate in rates({"name": "layer_decay", "decay": 0.0}).items() if rate} == {
        "head.logits.weight",
        "stack.final_norm.weight",
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_follows(name):
    """Weights at a rate of 0.1 go a tenth of the way in the first step, frozen ones none of it."""
    options = {"weight_decay": 0.0} if "weight_decay" in registry.entry("optimizer", name).signature.options else {}
    moved = {}
    for tuning in ({"name": "all"}, {"name": "layer_decay", "decay": 0.1}, {"name": "frozen", "patterns": ["stack.layers.0"]}):
        network = model(init="normal")
        config = {"tuning": {**tuning, "but": []} if tuning["name"] == "frozen" else tuning}
        freeze(network, config)
        before = {n: p.detach().clone() for n, p in network.named_parameters()}
        optimizer = build("optimizer", name, weights=tuned(network, config), **options)
        for _ in range(2 if name in ("soap", "schedule_free") else 1):  # their first step only looks
            optimizer.zero_grad()
            torch.manual_seed(0)
            for p in network.parameters():
                p.grad = torch.randn_like(p) if p.requires_grad else None
            optimizer.step()
        moved[tuning["name"]] = {n: float((p.detach() - before[n]).norm()) for n, p in network.named_parameters()}
    last, lowest = "stack.layers.2.block.attention.q.weight", "stack.layers.0.block.attention.q.weight"
    assert moved["layer_decay"]["head.logits.weight"] == pytest.approx(moved["all"]["head.logits.weight"], rel=0.02)
    assert moved["layer_decay"][last] == pytest.approx(0.1 * moved["all"][last], rel=0.05)
    assert moved["layer_decay"][lowest] == pytest.approx(1e-3 * moved["all"][lowest], rel=0.05)
    assert {n for n, way in moved["frozen"].items() if way == 0.0} == {n for n in moved["frozen"] if ".layers.0." in n}


def test_a_slower_weight_decays_more_slowly_and_muP_keeps_its_share():
    weights = [replace(w, rate=0.5, lr_scale=0.25) for w in roles(model()) if w.role == "hidden"]
    (group,) = build("optimizer", "adamw", weights=weights, lr=1.0, weight_decay=0.1).param_groups
    assert group["lr"] == 0.125  # both factors
    assert group["lr"] * group["weight_decay"] == pytest.approx(0.5 * 0.1)  # of which muP's is no reason to decay less


def test_with_an_adapter_the_tuning_is_about_what_it_trains():
    network = build("adapter", "lora", rank=2).apply(model())
    config = {"tuning": {"name": "layer_decay", "decay": 0.5}}
    freeze(network, config)
    found = {w.name: w.rate for w in tuned(network, config) if w.parameter.requires_grad}
    assert found
    assert all(name.endswith((".lora_a", ".lora_b")) for name in found)
    assert {name.split(".")[2]: rate for name, rate in found.items()} == {"0": 0.125, "1": 0.25, "2": 0.5}
    with pytest.raises(UserError, match="every weight of the model is frozen"):
        freeze(network, {"tuning": {"name": "frozen"}})  # the head is the adapter's to freeze


def test_frozen_modules_drop_out_all_the_same():
    network = model(embedding={"name": "token", "dropout": 0.5})
    freeze(network, {"tuning": {"name": "frozen"}})
    ids = torch.arange(8)[None]
    assert not torch.equal(network.train()(Batch(ids)), network(Batch(ids)))


def test_what_is_said_of_it():
    network, config = model(), {"tuning": {"name": "layer_decay", "decay": 0.5}}
    assert rate_lines(network, {"tuning": {"name": "all"}}) == []
    assert rate_lines(network, config) == [
        "learning rates, as a share: 1 stack.final_norm, head; 0.5 stack.layers.2; 0.25 stack.layers.1; 0.125 stack.layers.0; 0.0625 embedding"
    ]
    assert rate_lines(network, {"tuning": {"name": "frozen"}})[0] == "frozen: embedding, stack"
    names = [w.name for w in roles(network)]
    assert summarize_names([n for n in names if ".layers.0." in n or ".layers.1." in n], names) == ["stack.layers.0-1"]
    assert summarize_names([n for n in names if "attention.q" in n], names) == ["stack.layers.0-2.block.attention.q"]
