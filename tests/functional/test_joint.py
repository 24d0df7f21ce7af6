"""One product for several maps: the same values and gradients, and never where calling a module would do more than multiply."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.functional import joint


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients(bias):
    maps = [nn.Linear(8, n, bias=bias).double() for n in (6, 4, 2)]
    x = torch.randn(joint.ROWS // 4, 4, 8, dtype=torch.float64, requires_grad=True)
    one, three = joint.joint_linear(x, maps), [m(x) for m in maps]
    assert one[1].storage_offset() == 6, "not joined"
    weights = [p for m in maps for p in m.parameters()]
    grads = [torch.autograd.grad(sum(y.square().sum() for y in ys), [x, *weights]) for ys in (one, three)]
    for a, b in zip((*one, *grads[0]), (*three, *grads[1]), strict=True):
        torch.testing.assert_close(a, b)


def test_what_is_called_and_not_joined():
    class Wrapped(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    hooked = nn.Linear(8, 4)
    hooked.register_forward_hook(lambda _, __, y: y + 1)
    x = torch.randn(joint.ROWS, 8)
    for other in (Wrapped(8, 4), hooked, nn.Linear(8, 4, bias=False)):
        maps = [nn.Linear(8, 4), other]
        for a, b in zip(joint.joint_linear(x, maps), [m(x) for m in maps], strict=True):
            torch.testing.assert_close(a, b)
    few = joint.joint_linear(x[:3], [nn.Linear(8, 4), nn.Linear(8, 4)])
    assert few[1].storage_offset() == 0
