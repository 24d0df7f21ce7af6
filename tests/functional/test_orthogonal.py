"""The batched Newton-Schulz iterations equal the formula, matrix by matrix."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from components.functional import orthogonal
from components.functional.orthogonal import orthogonalise, orthogonalise_reference, products
from components.functional.symmetric import LEAST

SHAPES = [(8, 8), (8, 12), (12, 8), (8, 32), (32, 8), (6, 1)]


def stack(shape, n=3):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_equals_the_formula(shape, steps):
    x = stack(shape)
    expected = torch.stack([orthogonalise_reference(m, steps) for m in x])
    torch.testing.assert_close(orthogonalise(x, steps), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(64, 96), (64, 256), (256, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_end_near_one(shape, dtype):
    values = torch.linalg.svdvals(orthogonalise(stack(shape).to(dtype)).float())
    assert values.min() > 0.5
    assert values.max() < 1.3


@pytest.mark.parametrize("shape", [(64, 64), (64, 256)])
def test_directions_that_a_gradient_lacks_do_not_grow_in_bfloat16(shape):
    thin = stack((shape[0], 4)) @ stack((4, shape[1])) + 1e-3 * stack(shape)
    values = torch.linalg.svdvals(orthogonalise(thin.bfloat16()).float())
    assert values.max() < 1.3


def test_a_zero_matrix_stays_zero_and_the_argument_is_not_changed():
    x = torch.zeros(2, 4, 16)
    assert not orthogonalise(x).any()
    x = stack((4, 16))
    before = x.clone()
    orthogonalise(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", [(LEAST, LEAST), (LEAST + 1, LEAST + 9), (LEAST, 2 * LEAST), (2 * LEAST + 2, LEAST + 1)])
def test_equals_the_formula_in_blocks(shape):
    x = stack(shape, 2)
    expected = torch.stack([orthogonalise_reference(m) for m in x])
    torch.testing.assert_close(orthogonalise(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(LEAST, LEAST), (LEAST, 4 * LEAST), (4 * LEAST, LEAST)])
def test_in_bfloat16_as_far_from_the_formula_as_the_formula_in_bfloat16(shape):
    x = stack(shape, 2)
    exact, rounded = (
        torch.stack([orthogonalise_reference(m.to(d)).float() for m in x]) for d in (torch.float64, torch.bfloat16)
    )
    assert (orthogonalise(x.bfloat16()).float() - exact).norm() < 1.2 * (rounded - exact).norm()


@pytest.mark.parametrize("shape", [(8, 12), (12, 8), (8, 32), (32, 8)])
def test_parts_change_nothing(shape, monkeypatch):
    x = stack(shape, 7)
    whole = orthogonalise(x)
    monkeypatch.setattr(orthogonal, "CACHED", 0)
    torch.testing.assert_close(orthogonalise(x), whole)


@pytest.mark.parametrize("shape", [(8, 8), (8, 12), (8, 32), (32, 8), (LEAST, LEAST), (LEAST + 1, 2 * LEAST + 2)])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_products_are_those_that_are_done(shape, steps):
    with FlopCounterMode(display=False) as counted:
        orthogonalise(stack(shape), steps)
    assert counted.get_total_flops() == 2 * products(torch.Size((3, *shape)), steps, "cpu")
