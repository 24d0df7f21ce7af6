"""Feed-forward parts: formulas, widths, and one list of activations."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from components import build, registry
from components.functional.activations import ACTIVATIONS
from components.sockets import SequenceInfo

INFO = SequenceInfo()


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_formulas(name):
    bend = {
        "relu": F.relu,
        "relu2": lambda x: F.relu(x) ** 2,
        "gelu": F.gelu,
        "gelu_tanh": partial(F.gelu, approximate="tanh"),
        "silu": F.silu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "identity": lambda x: x,
    }[name]
    x = torch.randn(2, 3, 8)
    mlp, glu = build("ffn", "mlp", d_model=8, activation=name, bias=True), build("ffn", "glu", d_model=8, activation=name)
    torch.testing.assert_close(mlp(x, INFO), mlp.out(bend(mlp.up(x))))
    torch.testing.assert_close(glu(x, INFO), glu.out(bend(glu.gate(x)) * glu.up(x)))


@pytest.mark.parametrize("part", ["mlp", "glu"])
def test_both_offer_every_activation(part):
    assert set(registry.entry("ffn", part).signature.options["activation"].type.allowed) == set(ACTIVATIONS)


def test_widths():
    assert build("ffn", "mlp", d_model=12).up.weight.shape == (48, 12)
    assert build("ffn", "mlp", d_model=12, d_ff=20).out.weight.shape == (12, 20)
    assert build("ffn", "glu", d_model=384).gate.weight.shape == (1024, 384)
    mlp, glu = (sum(p.numel() for p in build("ffn", n, d_model=768).parameters()) for n in ("mlp", "glu"))
    assert glu == mlp
