"""A batch of no rows, which a share of a batch may be, gives no logits and gradients of zero: no shape is guessed from numbers that are not there."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.core import registry
from components.core.errors import UserError
from components.core.sockets import Batch

KINDS = ("attention", "ffn", "norm", "position", "block", "residual", "embedding", "stack", "head", "mask")
CASES = [(kind, name) for kind in KINDS for name in registry.names(kind) if name not in ("values", "patches", "number")]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_no_rows(kind, name):
    wide = {"name": "glu", "d_ff": 1024}  # the bend of such is taken again in the backward pass
    try:
        model = build("model", "decoder", vocab_size=7, d_model=8, n_layers=1, context_length=8, **{"ffn": wide, kind: name})
    except UserError as e:
        pytest.skip(f"no part of a decoder alone: {e}")
    out = model(Batch(torch.zeros(0, 4, dtype=torch.long)))
    assert out.shape[0] == 0
    out.sum().backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)
    with torch.inference_mode():
        assert model(Batch(torch.zeros(0, 4, dtype=torch.long))).shape == out.shape
