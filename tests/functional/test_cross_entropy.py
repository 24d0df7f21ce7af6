"""The fast cross entropy equals the formula, forward and backward."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import threaded

from components.functional import cross_entropy as module
from components.functional.cross_entropy import cross_entropy, cross_entropy_reference


def problem(n=37, v=53, dtype=torch.float32, weighted=True):
    g = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(n, v, generator=g)).to(dtype).requires_grad_()
    targets = torch.randint(0, v, (n,), generator=g)
    targets[::5] = -100
    return logits, targets, torch.rand(n, generator=g) if weighted else None


def both(logits, targets, weights, smoothing, by=(1.0, 0.1)):
    found = []
    for f in (cross_entropy, cross_entropy_reference):
        loss, z = f(logits, targets, weights, smoothing)
        (grad,) = torch.autograd.grad(by[0] * loss + by[1] * z, logits)
        found.append((loss, z, grad))
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("block", [1, 200, 2**20])
def test_equals_the_formula(weighted, smoothing, block, monkeypatch):
    monkeypatch.setitem(module.BLOCK, "cpu", block)
    (loss, z, grad), (loss0, z0, grad0) = both(*problem(weighted=weighted), smoothing)
    torch.testing.assert_close(loss, loss0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(z, z0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grad, grad0, rtol=1e-5, atol=1e-6)


def test_bfloat16_logits_are_summed_in_fp32():
    logits, targets, weights = problem(n=512, v=1024, dtype=torch.bfloat16)
    (loss, z, grad), (loss0, z0, grad0) = both(logits, targets, weights, 0.0)
    assert loss.dtype == torch.float32
    assert grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss, loss0, rtol=1e-6, atol=0)
    torch.testing.assert_close(z, z0, rtol=1e-6, atol=0)
    # each probability is rounded twice to 8 bits; nothing adds up in bfloat16
    assert (grad.float() - grad0.float()).norm() / grad0.float().norm() < 2e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_operation_passes_over_all_logits_at_once(dtype):
    """They are blocks that fit in the cache, forward and backward. (scatter_ copied all of bf16 logits there and back: a tenth of a step.)"""
    n, v = 64, 2**14
    logits, targets, _ = problem(n, v, dtype, weighted=False)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as seen:
        cross_entropy(logits, targets)[0].backward()
    works = [e for e in seen.events() if e.name in {f"aten::{name}" for name in ("copy_", "exp_", "mul_", "sub", "sum")}]
    sizes = [max((math.prod(s) for s in e.input_shapes if s), default=0) for e in works]
    assert len(sizes) > 8
    assert max(sizes) <= module.BLOCK["cpu"]


def test_an_ignored_row_counts_nothing_even_with_infinite_logits():
    logits, targets, weights = problem()
    poisoned = logits.detach().clone()
    poisoned[0] = float("nan")
    poisoned[5] = float("inf")
    poisoned.requires_grad_()
    (loss, z, grad), (loss0, _, grad0) = both(poisoned, targets, weights, 0.1)
    (clean, _, grad1), _ = both(logits, targets, weights, 0.1)
    assert loss == clean
    assert torch.isfinite(z)
    assert torch.equal(grad, grad1)
    assert (grad[targets == -100] == 0).all()
    torch.testing.assert_close((loss, grad), (loss0, grad0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("f", [cross_entropy, cross_entropy_reference])
@pytest.mark.parametrize("wrong", [-1, -99, 53])
def test_a_target_that_is_no_token_is_refused(f, wrong):
    logits, targets, _ = problem()
    targets[3] = wrong
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        f(logits, targets)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_with_a_piece_of_the_vocabulary_each(dtype, smoothing, ranks):
    whole, targets, weights = problem(v=54, dtype=dtype)
    with torch.no_grad():
        if not smoothing:
            whole[1, 54 // ranks :] = -torch.inf  # one rank alone has anything possible in this row
        targets[1] = 3
        whole[5] = torch.nan  # an ignored row
    loss0, z0 = cross_entropy(whole, targets, weights, smoothing)
    (grad0,) = torch.autograd.grad(loss0 + 0.1 * z0, whole)

    def one(rank):
        piece = whole.detach().chunk(ranks, 1)[rank].clone().requires_grad_()
        loss, z = cross_entropy(piece, targets, weights, smoothing, torch.distributed.group.WORLD)
        return loss, z, torch.autograd.grad(loss + 0.1 * z, piece)[0]

    found = threaded.on_ranks(ranks, one)
    near = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    for loss, z, _ in found:
        assert torch.equal(loss, found[0][0])
        torch.testing.assert_close((loss, z), (loss0, z0), rtol=1e-6 if dtype != torch.float64 else 1e-12, atol=0)
    torch.testing.assert_close(torch.cat([grad for *_, grad in found], 1), grad0, rtol=near, atol=near)


def test_a_target_that_no_rank_has_is_refused_by_all():
    logits, targets, _ = problem(v=54)
    for wrong in (-1, 54):
        targets[3] = wrong
        for found in threaded.on_ranks(
            2, lambda rank: cross_entropy(logits.detach().chunk(2, 1)[rank], targets, group=torch.distributed.group.WORLD)
        ):
            assert isinstance(found, (IndexError, RuntimeError))
            assert "out of bounds" in str(found)


def test_large_and_minus_infinite_logits():
    logits = torch.tensor([[1e4, -1e4, float("-inf")], [float("-inf"), 3.0, 2.0]], requires_grad=True)
    targets = torch.tensor([1, 2])
    (loss, _, grad), (loss0, _, grad0) = both(logits, targets, None, 0.0, by=(1.0, 0.0))
    torch.testing.assert_close(loss, loss0)
    torch.testing.assert_close(grad, grad0)


def test_the_logits_are_not_written_over_and_a_second_backward_is_refused():
    logits, targets, _ = problem()
    before = logits.detach().clone()
    loss, _ = cross_entropy(logits, targets)
    loss.backward(retain_graph=True)
    assert torch.equal(logits.detach(), before)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def test_gradients_by_finite_differences():
    logits, targets, weights = problem(n=3, v=4)

    def total(x):
        loss, z = cross_entropy(x, targets, weights, 0.1)
        return loss + 0.1 * z

    (grad,) = torch.autograd.grad(total(logits), logits)
    step = 1e-2
    with torch.no_grad():
        for place in range(logits.numel()):
            by = torch.zeros(logits.numel())
            by[place] = step
            by = by.view_as(logits)
            slope = (total(logits + by) - total(logits - by)) / (2 * step)
            assert slope.item() == pytest.approx(grad.flatten()[place].item(), abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_gradient_it_is_the_same_and_leaves_the_logits_alone(dtype: torch.dtype) -> None:
    logits = (torch.randn(50, 31, generator=torch.Generator().manual_seed(1)) * 3).to(dtype)
    targets = torch.arange(50) % 31
    before = logits.clone()
    expected = cross_entropy_reference(logits, targets)
    with torch.no_grad():
        got = cross_entropy(logits, targets)
    assert torch.equal(logits, before)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
