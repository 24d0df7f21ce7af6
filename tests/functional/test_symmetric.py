"""Symmetric products in blocks equal those without, and their halves are the same bits."""

from __future__ import annotations

import pytest
import torch

from components.functional.symmetric import LEAST, in_blocks, multiplications, symmetric_product


def symmetric(side, n=2):
    x = torch.randn(n, side, side, generator=torch.Generator().manual_seed(side), dtype=torch.float64)
    return (x + x.mT) / side


@pytest.mark.parametrize("side", [6, LEAST, LEAST + 1])
@pytest.mark.parametrize("n", [1, 3])
def test_two_polynomials_in_one_matrix(side, n):
    x = symmetric(side, n)
    y = x @ x + 2 * x
    torch.testing.assert_close(symmetric_product(x, y), x @ y)
    torch.testing.assert_close(symmetric_product(x, y, y, beta=3.0, alpha=-2.0), 3 * y - 2 * x @ y)


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_one_matrix_with_itself(tall, dtype):
    x = torch.randn(2, 2 * LEAST, LEAST) if tall else torch.randn(2, LEAST, 2 * LEAST)
    x = (x.mT if tall else x).to(dtype)
    found = symmetric_product(x, x)
    torch.testing.assert_close(found, torch.bmm(x, x.mT), rtol=2e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-3)
    half = LEAST // 2
    assert torch.equal(found[:, half:, :half], found[:, :half, half:].mT)


def test_three_blocks_of_four_on_a_cpu_and_all_of_them_elsewhere():
    assert in_blocks(LEAST, "cpu")
    assert not in_blocks(LEAST - 1, "cpu")
    assert multiplications(LEAST, 7, "cpu") == 7 * LEAST**2 * 3 // 4
    assert multiplications(LEAST, 7, "cuda") == multiplications(LEAST, 7, "any") == 7 * LEAST**2
