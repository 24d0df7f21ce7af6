"""Norms against their formulas."""

from __future__ import annotations

import torch

from components import build


def test_formulas():
    x = torch.randn(2, 3, 8, dtype=torch.float64) * 4 + 1
    rms, layer = build("norm", "rms", dim=8).double(), build("norm", "layer", dim=8, eps=1e-3).double()
    with torch.no_grad():
        for p in (*rms.parameters(), *layer.parameters()):
            p.normal_()
    torch.testing.assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * rms.weight)
    deviation = (x.var(-1, unbiased=False, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(layer(x), (x - x.mean(-1, keepdim=True)) / deviation * layer.weight + layer.bias)
    assert build("norm", "none")(x) is x


def test_a_scale_of_each_heads_own():
    x = torch.randn(2, 3, 8)
    for name in ("rms", "layer"):
        shared, own = build("norm", name, dim=8), build("norm", name, dim=8, heads=3)
        with torch.no_grad():
            own.weight[1] = 2.0
        want = shared(x).clone()
        want[:, 1] *= 2
        torch.testing.assert_close(own(x), want)
