"""Norms against their formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from components import build
from components.core.errors import UserError

torch.manual_seed(0)
X = torch.randn(2, 5, 3, 8, dtype=torch.float64) * 4 + 1


def mean(x):
    return x.mean(-1, keepdim=True)


def rms(x, eps=1e-6):
    return x / (mean(x.square()) + eps).sqrt()


def centred(x, eps=1e-5):
    return (x - mean(x)) / (mean((x - mean(x)).square()) + eps).sqrt()


def in_groups(x, groups):
    return torch.cat([centred(part) for part in x.chunk(groups, -1)], -1)


FORMULAS = {
    "rms": ({}, lambda x, p: rms(x) * p["weight"]),
    "rms, unit offset": ({"unit_offset": True}, lambda x, p: rms(x) * (1 + p["weight"])),
    "rms, none": ({"scale": "none"}, lambda x, _: rms(x)),
    "rms, bias": ({"bias": True, "eps": 1e-3}, lambda x, p: rms(x, 1e-3) * p["weight"] + p["bias"]),
    "layer": ({"eps": 1e-3}, lambda x, p: centred(x, 1e-3) * p["weight"] + p["bias"]),
    "layer, no bias": ({"bias": False}, lambda x, p: centred(x) * p["weight"]),
    "layer, none": ({"scale": "none", "bias": False}, lambda x, _: centred(x)),
    "layer1p": ({}, lambda x, p: centred(x) * (1 + p["scale"]) + p["bias"]),
    "scale": ({}, lambda x, p: p["scale"] * x / x.square().sum(-1, keepdim=True).sqrt()),
    "l2": ({}, lambda x, _: x / x.square().sum(-1, keepdim=True).sqrt()),
    "group": ({"groups": 2}, lambda x, p: in_groups(x, 2) * p["weight"] + p["bias"]),
    "partial_rms": ({"fraction": 0.3}, lambda x, p: x / (mean(x[..., :3].square()) + 1e-6).sqrt() * p["weight"]),
    "dynamic_tanh": ({}, lambda x, p: p["weight"] * torch.tanh(p["alpha"] * x) + p["bias"]),
    "dynamic_erf": ({}, lambda x, p: p["weight"] * torch.erf(p["alpha"] * x + p["shift"]) + p["bias"]),
}
every_formula = pytest.mark.parametrize("case", FORMULAS)


def made(case, **sizes):
    options, formula = FORMULAS[case]
    return build("norm", case.split(",")[0], dim=8, **sizes, **options), formula


@every_formula
def test_formulas(case):
    for sizes in ({}, {"heads": 3}) if case != "l2" else ({},):
        norm, formula = made(case, **sizes)
        norm = norm.double()
        with torch.no_grad():
            for p in norm.parameters():
                p.normal_()
                assert p.dim() == 1 + bool(sizes), "with heads, numbers of each head's own"
        torch.testing.assert_close(norm(X), formula(X, dict(norm.named_parameters())))


@every_formula
def test_dtype_is_the_inputs_and_sums_are_taken_in_fp32(case):
    norm, formula = made(case)
    x = X.bfloat16()
    want = formula(x.double(), {n: p.double() for n, p in norm.named_parameters()})
    for weights in (norm, norm.bfloat16()):
        out = weights(x)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.double(), want, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("case", [c for c in FORMULAS if c not in ("l2", "dynamic_tanh", "dynamic_erf")])
def test_at_first_all_but_the_squashing_ones_bring_vectors_to_one_scale(case):
    norm, _ = made(case)
    out = norm(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 7)
    assert 0.3 < out.square().mean().sqrt() < 1.6
    if case != "partial_rms":
        torch.testing.assert_close(out.square().mean(), torch.tensor(1.0), rtol=1e-3, atol=1e-3)


def test_torch_has_the_same():
    x = X.flatten(0, 2)
    group = build("norm", "group", dim=8, groups=4).double()
    torch.testing.assert_close(group(x), F.group_norm(x, 4))
    torch.testing.assert_close(build("norm", "layer", dim=8).double()(x), F.layer_norm(x, (8,)))
    torch.testing.assert_close(build("norm", "rms", dim=8, scale="none")(x), F.rms_norm(x, (8,), None, 1e-6))
    torch.testing.assert_close(build("norm", "l2")(x), F.normalize(x, dim=-1))


def test_zero_vectors_stay_finite():
    for case in FORMULAS:
        norm, _ = made(case)
        x = torch.zeros(2, 8, requires_grad=True)
        norm(x).sum().backward()
        assert torch.isfinite(x.grad).all(), case


def test_none_gives_its_argument_back():
    assert build("norm", "none")(X) is X


def test_a_scale_of_each_heads_own():
    x = torch.randn(2, 3, 8)
    for name in ("rms", "layer"):
        shared, own = build("norm", name, dim=8), build("norm", name, dim=8, heads=3)
        with torch.no_grad():
            own.weight[1] = 2.0
        want = shared(x).clone()
        want[:, 1] *= 2
        torch.testing.assert_close(own(x), want)


def test_messages():
    with pytest.raises(UserError, match="groups=3 does not divide the 8 channels"):
        build("norm", "group", dim=8, groups=3)
    with pytest.raises(UserError, match="no weight to offset"):
        build("norm", "rms", dim=8, scale="none", unit_offset=True)
    with pytest.raises(UserError, match="measures no channel"):
        build("norm", "partial_rms", dim=8, fraction=0.0)
