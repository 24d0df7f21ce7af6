"""How a branch's output enters the stream."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.sockets import Place


def test_formulas():
    s, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    place = Place(1, 8)
    assert torch.equal(build("residual", "add").write(s, y), s + y)
    torch.testing.assert_close(build("residual", "scaled", place=place).write(s, y), s + y / 4)
    torch.testing.assert_close(build("residual", "scaled", place=place, scale=0.22).write(s, y), s + 0.22 * y)
    scaled = build("residual", "layer_scale", d_model=4, place=place, initial=0.01)
    assert scaled.scale.tolist() == pytest.approx([0.01] * 4)
    torch.testing.assert_close(scaled.write(s, y), s + 0.01 * y)


def test_the_stacks_own_layer_scale_has_no_dead_parameter():
    assert not list(build("residual", "layer_scale", d_model=4).parameters())


@pytest.mark.parametrize("name", ["add", "scaled", "layer_scale"])
def test_dropout_scales_what_is_kept_and_is_absent_at_zero(name):
    sizes = {"place": Place(0, 1)} if name != "add" else {}
    sizes |= {"d_model": 1000} if name == "layer_scale" else {}
    part = build("residual", name, dropout=0.5, **sizes).train()
    torch.manual_seed(0)
    s, y = torch.zeros(1, 1, 1000), torch.ones(1, 1, 1000)
    out, full = part.write(s, y), build("residual", name, **sizes).write(s, y)
    kept = out != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(out[kept], 2 * full[kept])
    assert torch.equal(part.eval().write(s, y), full)
