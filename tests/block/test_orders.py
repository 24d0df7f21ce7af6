"""The three orders of norms and branches, written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components import build
from components.sockets import Place, SequenceInfo

D = 8
INFO = SequenceInfo(positions=torch.arange(3)[None])


class Branch(nn.Module):
    """Multiplies by a number of its own, so that orders can be told apart."""

    def __init__(self, d_model):
        super().__init__()
        self.linear = nn.Linear(d_model, d_model)

    def forward(self, x, info):  # noqa: ARG002
        return self.linear(x)


def block(name, **extra):
    makers = {
        "attention": Branch,
        "cross": Branch,
        "ffn": Branch,
        "norm": "layer",
        "residual": {"name": "scaled", "scale": 0.5},
    }
    return build("block", name, d_model=D, context_length=4, place=Place(0, 2), **{**makers, **extra})


@pytest.mark.parametrize("memory", [None, 8])
def test_orders(memory):
    s = torch.randn(2, 3, D)
    names = ["attention", "cross", "ffn"] if memory else ["attention", "ffn"]
    for name in ("pre_norm", "post_norm", "parallel"):
        b = block(name, **({"d_memory": memory} if memory else {}))
        assert b.branches == names
        want = s
        if name == "parallel":
            normed = b.norm(s)
            want = s + sum(0.5 * getattr(b, n)(normed, INFO) for n in names)
        else:
            for n in names:
                branch, norm = getattr(b, n), getattr(b, f"{n}_norm")
                want = want + 0.5 * branch(norm(want), INFO) if name == "pre_norm" else norm(want + 0.5 * branch(want, INFO))
        torch.testing.assert_close(b(s, INFO), want)
