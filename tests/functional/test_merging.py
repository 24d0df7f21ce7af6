"""Means of weights, against the formulas of mergekit 0.1.5 written here in numpy: over stacked tensors, with sorts and masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.functional.model_soup import precise, weighted_mean
from components.functional.slerp import slerp
from components.functional.ties import ties, trimmed


def drawn(count: int, shape: tuple[int, ...] = (7, 5), dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(shape) + count)
    return [torch.randn(shape, generator=generator).to(dtype) for _ in range(count)]


def stacked(tensors: list[torch.Tensor]) -> np.ndarray:
    return np.stack([t.double().numpy() for t in tensors])


def mean_of_mergekit(tensors: list[torch.Tensor], weights: list[float]) -> np.ndarray:
    w = np.array(weights).reshape(-1, *[1] * tensors[0].dim())
    return (stacked(tensors) * w).sum(0) / w.sum(0)


def slerp_of_mergekit(t: float, a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    x, y = a.double().numpy(), b.double().numpy()
    unit = [v / np.linalg.norm(v) if np.linalg.norm(v) > 1e-8 else v for v in (x, y)]
    dot = np.sum(unit[0] * unit[1])
    if np.abs(dot) > 0.9995:
        return (1 - t) * x + t * y
    theta = np.arccos(dot)
    return np.sin(theta - theta * t) / np.sin(theta) * x + np.sin(theta * t) / np.sin(theta) * y


def ties_of_mergekit(base: torch.Tensor, tensors: list[torch.Tensor], weights: list[float], density: float) -> np.ndarray:
    deltas = stacked(tensors) - base.double().numpy()
    for delta in deltas:
        order = np.argsort(-np.abs(delta).ravel())
        delta.ravel()[order[max(1, int(density * delta.size)) :]] = 0
    w = np.array(weights).reshape(-1, *[1] * base.dim())
    weighted = deltas * w
    majority = np.where(weighted.sum(0) >= 0, 1, -1)
    mask = np.sign(weighted) == majority
    divisor = (w * mask).sum(0)
    divisor[divisor == 0] = 1
    return base.double().numpy() + (weighted * mask).sum(0) / divisor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.2, 3.0, 0.0]])
def test_linear(dtype, weights):
    tensors = drawn(3, dtype=dtype)
    assert weighted_mean(tensors, weights).numpy() == pytest.approx(mean_of_mergekit(tensors, weights), abs=1e-6)


def test_a_mean_of_equal_tensors_is_that_tensor():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        (one,) = drawn(1, (1000,), dtype)
        assert weighted_mean([one] * 3, [0.1, 0.7, 0.3]).to(dtype).equal(one)


def test_sums_are_more_precise_than_what_comes_in():
    assert precise(drawn(2, dtype=torch.bfloat16)) == torch.float32
    assert precise(drawn(2)) == torch.float64
    small = [torch.full((1,), v, dtype=torch.float32) for v in (1.0, 2.0**-30, -1.0)]
    assert weighted_mean(small, [1.0, 1.0, 1.0]).item() == 2.0**-30 / 3


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(7, 5), (11,), (2, 3, 4)])
def test_slerp(t, shape):
    a, b = drawn(2, shape)
    assert slerp(a, b, t).numpy() == pytest.approx(slerp_of_mergekit(t, a, b), abs=1e-12)


@pytest.mark.parametrize("other", [1.0, 1.0001, -1.0])
def test_slerp_of_what_has_no_arc_is_linear(other):
    (a,) = drawn(1)
    b = a * other
    assert slerp(a, b, 0.25).numpy() == pytest.approx(slerp_of_mergekit(0.25, a, b), abs=1e-12)


def test_slerp_from_nothing_is_linear():  # 0 has no direction; mergekit takes it for a right angle
    (a,) = drawn(1)
    zero = torch.zeros_like(a)
    assert slerp(zero, a, 0.25).equal(a.double() / 4)
    assert slerp(a, zero, 0.25).equal(a.double() * 0.75)
    assert slerp(zero, zero, 0.25).equal(zero.double())


def test_slerp_keeps_the_length_on_the_way():
    a, b = (t / t.norm() for t in drawn(2, (400,), torch.float64))
    assert slerp(a, b, 0.4).norm() == pytest.approx(1.0, abs=1e-12)
    assert weighted_mean([a, b], [0.6, 0.4]).norm() < 0.9


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.2, 3.0, 0.0]])
def test_ties(density, weights):
    base, *tensors = drawn(4)
    assert ties(base, tensors, weights, density).numpy() == pytest.approx(
        ties_of_mergekit(base, tensors, weights, density), abs=1e-12
    )


def test_ties_by_hand():
    base = torch.zeros(4)
    tensors = [torch.tensor([3.0, -1.0, 0.5, 0.0]), torch.tensor([-1.0, -2.0, 0.1, 4.0])]
    assert trimmed(tensors[1], 0.5).tolist() == [0.0, -2.0, 0.0, 4.0]
    # 3 outweighs -1; both say -; 0.1 is trimmed; only one says 4
    assert ties(base, tensors, [1.0, 1.0], 0.75).tolist() == [3.0, -1.5, 0.5, 4.0]


def test_trimming_keeps_as_many_as_are_asked_for_also_of_equal_ones():
    assert trimmed(torch.tensor([2.0, -2.0, 1.0, 2.0, 3.0]), 0.4).tolist() == [2.0, 0.0, 0.0, 0.0, 3.0]
    assert trimmed(torch.ones(10), 0.3).count_nonzero() == 3
    assert trimmed(torch.zeros(10), 0.3).tolist() == [0.0] * 10


def test_trimming_keeps_one_number_and_the_shape():
    (change,) = drawn(1, (3, 2))
    kept = trimmed(change, 0.01)
    assert kept.shape == change.shape
    assert kept.count_nonzero() == 1
    assert kept.abs().max() == change.abs().max()
    assert trimmed(torch.zeros(0, 3), 0.5).shape == (0, 3)
