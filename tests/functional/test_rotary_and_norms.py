"""Rotation and RMSNorm: the fast forms against the formulas, forward and backward."""

from __future__ import annotations

import pytest
import torch

from components.functional.norms import rms_norm, rms_norm_reference
from components.functional.rotary import angles, rotate, rotate_reference, tables


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("width", [8, 4])
def test_rotation_agrees_with_the_formula(layout, width):
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64, requires_grad=True)
    frequencies = 10.0 ** -torch.arange(width // 2).float()
    cos, sin = angles(torch.arange(5)[None], frequencies)
    out = rotate(x, tables(torch.arange(5)[None], frequencies, layout), layout)
    want = torch.cat((rotate_reference(x[..., :width], cos, sin, layout), x[..., width:]), -1)
    torch.testing.assert_close(out, want, rtol=1e-6, atol=1e-6)
    g = torch.randn_like(out)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, g)[0] for y in (out, want)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("others", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2])
def test_a_gradient_may_begin_anywhere_in_memory(layout, others, length):
    """As that of channels that stand behind others: multi-head latent attention has such, of any number."""
    x = torch.randn(1, 1, length, 4, dtype=torch.float64, requires_grad=True)
    before = torch.zeros(1, 1, length, others, dtype=torch.float64)
    positions, frequencies = torch.arange(3, 3 + length)[None], 0.3 ** torch.arange(2).float()
    want = rotate_reference(x, *angles(positions, frequencies), layout)
    out = rotate(x, tables(positions, frequencies, layout), layout)
    g = torch.randn(1, 1, length, others + 4, dtype=torch.float64)
    of_x = [torch.autograd.grad(torch.cat((before, y), -1), x, g)[0] for y in (out, want)]
    torch.testing.assert_close(*of_x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_scores_depend_on_distance_alone(layout):
    q, k = torch.randn(1, 1, 1, 8).expand(1, 1, 6, 8), torch.randn(1, 1, 1, 8).expand(1, 1, 6, 8)
    factors = tables(torch.arange(6)[None] + 100, 0.3 ** torch.arange(4).float(), layout)
    scores = (rotate(q, factors, layout) @ rotate(k, factors, layout).transpose(-1, -2))[0, 0]
    for distance in range(-5, 6):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-4)


def test_the_layouts_are_permutations_of_one_another():
    x = torch.randn(1, 2, 5, 8)
    half, pairs = (tables(torch.arange(5)[None], 0.3 ** torch.arange(4).float(), n) for n in ("half", "interleaved"))
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # half -> interleaved
    torch.testing.assert_close(rotate(x[..., order], pairs, "interleaved"), rotate(x, half, "half")[..., order])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("heads", [None, 3])
def test_rms_norm(dtype, heads):
    x = (torch.randn(4, 3, 16) * 3).to(dtype).requires_grad_()
    w = torch.randn((16,) if heads is None else (3, 16)).to(dtype).requires_grad_()
    g = torch.randn(4, 3, 16).to(dtype)
    out, want = rms_norm(x, w, 1e-6), rms_norm_reference(x, w, 1e-6)
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    assert out.dtype == dtype
    torch.testing.assert_close(out, want, rtol=tolerance, atol=tolerance)
    for a, b in zip(torch.autograd.grad(out, (x, w), g), torch.autograd.grad(want, (x, w), g), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * 4)


def test_rms_norm_gradcheck():
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    w = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-3), (x, w))


@pytest.mark.parametrize("head_dim", [7, 9])
def test_an_odd_width_turns_all_but_its_last_channel(head_dim):
    x = torch.randn(2, 5, 3, head_dim, requires_grad=True).transpose(1, 2)  # heads as attention has them
    frequencies = 0.3 ** torch.arange(head_dim // 2).float()
    cos, sin = angles(torch.arange(5)[None], frequencies)
    for layout in ("interleaved", "half"):
        out = rotate(x, tables(torch.arange(5)[None], frequencies, layout), layout)
        want = torch.cat((rotate_reference(x[..., :-1], cos, sin, layout), x[..., -1:]), -1)
        torch.testing.assert_close(out, want)
        g = torch.randn_like(out)
        torch.testing.assert_close(*(torch.autograd.grad(y, x, g)[0] for y in (out, want)))


def test_a_view_that_starts_at_an_odd_place_is_turned_as_any():
    x = torch.randn(2 * 3 * 5 * 8 + 1)[1:].view(2, 3, 5, 8)
    factors = tables(torch.arange(5)[None], 0.3 ** torch.arange(4).float(), "interleaved")
    assert torch.equal(rotate(x, factors, "interleaved"), rotate(x.clone(), factors, "interleaved"))


def test_rms_norm_has_second_derivatives():
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    w = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: rms_norm(x, w, 1e-3), (x, w))
