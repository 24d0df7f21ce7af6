"""The batched Newton-Schulz iterations equal the formula, matrix by matrix."""

from __future__ import annotations

import pytest
import torch

from components.functional.orthogonal import orthogonalise, orthogonalise_reference

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
