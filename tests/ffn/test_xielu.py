"""xIELU: transformers' activation on the same numbers, its slope at 0, what it refuses, and constants of a file that are others."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.core.errors import UserError
from components.functional.activations import xielu
from components.interop.layouts import Beside


def test_it_is_transformers_in_values_and_gradients():
    """But for inputs from -1e-6 to 0, which its kernels take for -1e-6."""
    activations = pytest.importorskip("transformers.activations")
    theirs = activations.XIELUActivation(dtype=torch.float64)
    part = build("ffn", "xielu", d_model=6, d_ff=9).double()
    for n in ("alpha_p", "alpha_n"):
        torch.testing.assert_close(getattr(part, n), getattr(theirs, n))  # the same first values
        torch.nn.init.constant_(getattr(part, n), 0.7 if n == "alpha_p" else -1.3)
        torch.nn.init.constant_(getattr(theirs, n), 0.7 if n == "alpha_p" else -1.3)
    x = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 9
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    read, wanted = part(mine), part.out(theirs(part.up(its)))
    torch.testing.assert_close(read, wanted)
    read.square().sum().backward()
    grads = [mine.grad, part.alpha_p.grad, part.alpha_n.grad]
    wanted.square().sum().backward()
    for got, want in zip(grads, (its.grad, theirs.alpha_p.grad, theirs.alpha_n.grad), strict=True):
        torch.testing.assert_close(got, want)


def test_it_is_smooth_at_0_and_finite_far_away():
    x = torch.tensor([-1e3, -1e-9, 0.0, 1e-9, 1e3], requires_grad=True)
    a, b = torch.tensor([1.5]), torch.tensor([0.9])
    y = xielu(x, a, b, 0.5)
    assert y.tolist() == pytest.approx([0.9 * 999 - 500, -5e-10, 0.0, 5e-10, 1.5e6 + 500])
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([0.5 - 0.9, 0.5, 0.5, 0.5, 3000.5])


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"alpha_n=0\.4 is at most beta=0\.5"):
        build("ffn", "xielu", d_model=4, alpha_n=0.4)


def test_another_constant_in_a_file_is_refused():
    one, form = torch.ones(1), Beside((0.5, -1e-6))
    numbers = form.join([one.bfloat16()])
    assert [n.dtype for n in numbers] == [torch.bfloat16] * 3
    assert torch.equal(form.split(numbers, [one.shape])[0], one.bfloat16())
    with pytest.raises(UserError, match=r"is 0\.4, and only 0\.5 is known"):
        form.split([one, torch.tensor(0.4), torch.tensor(-1e-6)], [one.shape])
