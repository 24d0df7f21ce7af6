"""muP: the rules of its table, the optimizer's groups, and the coordinate check, which fails if either half is broken."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from components import build
from components.core.weights import initialise, roles
from components.parts.init.mup import MuP

WIDTHS = (32, 64, 128, 256)
IDS = torch.randint(0, 50, (4, 16), generator=torch.Generator().manual_seed(0))


def decoder(width, init, **options):
    sizes = {"vocab_size": 50, "d_model": width, "n_layers": 2, "context_length": 16}
    model = build("model", "decoder", **sizes, attention={"name": "mha", "n_heads": width // 16}, init=init, **options)
    initialise(model, model.init, seed=1)
    return model


def weights_of(model):
    scale = getattr(model.init, "lr_scale", None)  # as the task does
    return [replace(w, lr_scale=scale(w)) if scale else w for w in roles(model)]


def test_table_3():
    for width in (64, 256):
        found = {w.name: w for w in weights_of(decoder(width, {"name": "mup", "base_width": 64, "gain": 0.5}))}
        block = "stack.layers.0.block."
        for name, std, rate in (
            ("embedding.table.weight", 1.0, 1.0),
            (f"{block}attention.q.weight", 0.5 * width**-0.5, 64 / width),
            (f"{block}ffn.out.weight", 0.5 * (4 * width) ** -0.5, 64 / width),
            ("head.logits.weight", 8 / width, 64 / width),
        ):
            assert found[name].parameter.std().item() == pytest.approx(std, rel=0.06), name
            assert found[name].lr_scale == pytest.approx(rate), name
        assert found["stack.final_norm.weight"].lr_scale == 1.0
        assert (found["stack.final_norm.weight"].parameter == 1).all()
    zero = {w.name: w for w in roles(decoder(64, {"name": "mup", "head": "zero"}))}
    assert (zero["head.logits.weight"].parameter == 0).all()


def test_at_the_base_width_it_is_the_standard_rule():
    a = decoder(64, {"name": "mup", "base_width": 64})
    b = decoder(64, {"name": "kaiming", "gain": 1.0, "embedding_std": 1.0})
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=name)
    assert len(build("optimizer", "adamw", weights=weights_of(a)).param_groups) == 2


def test_adamw_has_a_group_for_each_rate():
    model = decoder(256, {"name": "mup", "base_width": 64})
    weights = weights_of(model)
    optimizer = build("optimizer", "adamw", weights=weights, lr=0.01, weight_decay=0.1, decay_embedding=True)
    of = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    assert len(of) == len(weights) == sum(len(g["params"]) for g in optimizer.param_groups)
    for w in weights:
        group = of[id(w.parameter)]
        narrow = w.role in ("hidden", "out", "head")
        assert group["lr"] == group["initial_lr"] == pytest.approx(0.0025 if narrow else 0.01), w.name
        # what a step takes away is the same share for all that decays
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.001 if narrow or w.role == "embedding" else 0.0), w.name
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.5)
    assert sorted({g["lr"] for g in optimizer.param_groups}) == pytest.approx([0.00125, 0.005])
    assert schedule.base_lrs == [g["initial_lr"] for g in optimizer.param_groups]


def test_muon_scales_its_adamw_part_alone():
    weights = weights_of(decoder(256, {"name": "mup", "base_width": 64}))
    optimizer = build("optimizer", "muon", weights=weights, lr=0.02, adamw_lr=0.004)
    of = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    rates = {w.role: of[id(w.parameter)]["lr"] for w in weights}
    assert rates == {"embedding": 0.004, "hidden": 0.02, "out": 0.02, "scale": 0.004, "head": 0.001}


def changes(init, width, steps=2):
    """Mean |value| of the last stream's and the logits' first values, and of what steps of AdamW change in them."""
    model = decoder(width, init)
    optimizer = build("optimizer", "adamw", weights=weights_of(model), lr=0.01, weight_decay=0.0)
    streams = []
    model.stack.layers[-1].register_forward_hook(lambda *seen: streams.append(seen[-1][0].detach()))
    logits = []
    for _ in range(steps + 1):
        logits.append(model(IDS))
        loss = F.cross_entropy(logits[-1][:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    size = lambda x: x.abs().mean().item()  # noqa: E731
    return size(streams[0]), size(logits[0]), size(streams[-1] - streams[0]), size(logits[1] - logits[0])


def slopes(init):
    """Of log value against log width, in the order of ``changes``."""
    rows = zip(*(changes(init, w) for w in WIDTHS), strict=True)
    x = [math.log(w) for w in WIDTHS]
    return [statistics.linear_regression(x, [math.log(max(v, 1e-9)) for v in row]).slope for row in rows]


def test_coordinates_keep_their_scale():
    stream, logits, stream_change, _ = slopes({"name": "mup", "base_width": 32})
    assert abs(stream) < 0.1
    assert logits == pytest.approx(-0.5, abs=0.1)  # variance 1 / fan-in^2: the first logits vanish with width
    assert abs(stream_change) < 0.2
    _, _, stream_change, logits_change = slopes({"name": "mup", "base_width": 32, "head": "zero"})
    assert abs(stream_change) < 0.2
    assert abs(logits_change) < 0.2  # only the head's own step, by 1 / width for each of width inputs


def test_the_standard_rule_does_not():
    stream, logits, stream_change, _ = slopes({"name": "kaiming", "gain": 1.0, "embedding_std": 1.0})
    assert abs(stream) < 0.1
    assert abs(logits) < 0.1
    assert stream_change > 0.4


@pytest.mark.parametrize("broken", ["rate", "head_rate", "output"])
def test_the_check_would_notice(broken, monkeypatch):
    """Without the factor on rates, or with the head drawn as a hidden matrix, the figures above are far away."""
    plain_scale, plain_call = MuP.lr_scale, MuP.__call__

    def scale(self, weight):
        return 1.0 if broken == "rate" or (broken == "head_rate" and weight.role == "head") else plain_scale(self, weight)

    def call(self, weight, generator):
        known = replace(weight, role="hidden") if broken == "output" and weight.role == "head" else weight
        return plain_call(self, known, generator)

    monkeypatch.setattr(MuP, "lr_scale", scale)
    monkeypatch.setattr(MuP, "__call__", call)
    _, logits, stream_change, _ = slopes({"name": "mup", "base_width": 32})
    _, _, _, logits_change = slopes({"name": "mup", "base_width": 32, "head": "zero"})
    assert {"rate": stream_change > 0.4, "head_rate": logits_change > 0.5, "output": abs(logits) < 0.1}[broken]
