"""max(x, 0)^2: fewer passes than autograd takes, and the same values and derivatives of any order, wherever it is computed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from components.functional.activations import relu2


def plain(x):
    return F.relu(x).square()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_value_and_gradient_are_those_of_autograd(dtype):
    x = torch.randn(64, 33).to(dtype).requires_grad_()
    grad = torch.randn(64, 33).to(dtype)
    assert "Relu2" in type(relu2(x).grad_fn).__name__
    assert torch.equal(relu2(x), plain(x))
    (one,), (other,) = (torch.autograd.grad(f(x), x, grad) for f in (relu2, plain))
    assert torch.equal(one, other)


def test_derivatives_of_higher_order():
    x = torch.tensor([-2.0, -0.5, 0.3, 1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(relu2, x)
    assert torch.autograd.gradgradcheck(relu2, x)
    (first,) = torch.autograd.grad(relu2(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.tolist() == [0, 0, 2, 2]


def test_it_keeps_one_tensor():
    kept = []
    with saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        relu2(torch.randn(8, 8, requires_grad=True))
    assert len(kept) == 1


def test_where_others_look():
    x = torch.randn(5, 4)
    assert torch.equal(torch.func.vmap(torch.func.grad(lambda row: relu2(row).sum()))(x), 2 * F.relu(x))
    assert relu2(x).grad_fn is None
    with torch.no_grad():
        assert relu2(x.requires_grad_()).grad_fn is None
