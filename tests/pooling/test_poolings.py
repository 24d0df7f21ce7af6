"""Every pooling against its formula, row by row, with padding on either side; what it computes once and what at each position."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from components import build
from components.core.errors import UserError
from components.core.flops import Work, flops_of
from components.core.index import own_entries
from components.core.sockets import SequenceInfo

D, T = 6, 5
NAMES = ("first", "last", "mean", "max", "attention")
VALID = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0]], dtype=torch.bool)


def pooling(name: str, **options) -> torch.nn.Module:
    part = build("pooling", name, d_model=D, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return part


def vectors(dtype=torch.float64) -> torch.Tensor:
    return torch.randn(4, T, D, generator=torch.Generator().manual_seed(0)).to(dtype)


def naive(name: str, part: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Of one row without padding, (T, D) -> (D,)."""
    if name == "attention":
        width = D // part.n_heads
        rows = []
        for h, query in enumerate(part.query.weight):
            weights = torch.stack([v @ query / math.sqrt(D) for v in x]).softmax(0)
            rows.append(sum(w * v[h * width : (h + 1) * width] for w, v in zip(weights, x)))
        return torch.cat(rows)
    if name in ("first", "last"):
        return x[0 if name == "first" else len(x) - 1]
    return torch.stack([getattr(torch, name)(channel) for channel in x.T])


CASES = [(n, {}) for n in NAMES] + [("attention", {"n_heads": 3})]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_equals_the_formula_with_and_without_padding(name, options):
    part = pooling(name, **options).double()
    x = vectors()
    for valid in (None, VALID):
        rows = [v if valid is None else v[valid[i]] for i, v in enumerate(x)]
        expected = torch.stack([naive(name, part, row) for row in rows])
        torch.testing.assert_close(part(x, SequenceInfo(valid=valid)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_on_padding_is_never_read(name):
    part = pooling(name).double()
    x = vectors().requires_grad_()
    out = part(x, SequenceInfo(valid=VALID))
    spoilt = x.detach().masked_fill(~VALID[:, :, None], float("inf"))
    assert torch.equal(part(spoilt, SequenceInfo(valid=VALID)), out)
    (grad,) = torch.autograd.grad(out.square().sum(), x)
    assert torch.equal(grad[~VALID], torch.zeros_like(grad[~VALID]))
    assert (grad[VALID] != 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_neighbours_dtypes_and_compile(name):
    part = pooling(name)
    x = vectors(torch.float32)
    info = SequenceInfo(valid=VALID)
    torch.testing.assert_close(part(x, info)[2:3], part(x[2:3], SequenceInfo(valid=VALID[2:3])))
    torch.testing.assert_close(torch.compile(part, fullgraph=True, backend="eager")(x, info), part(x, info))
    half = part.bfloat16()(x.bfloat16(), info)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), part.float()(x, info), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_flops_are_those_that_are_counted(name, options):
    part = pooling(name, **options)
    for t in (4, 9):
        with FlopCounterMode(display=False) as counter:
            part(torch.randn(1, t, D), SequenceInfo())
        assert flops_of(part, Work(t)) == (counter.get_total_flops(),) * 2


def test_attention_starts_from_any_query_and_refuses_heads_that_do_not_divide():
    part = pooling("attention").double()
    torch.nn.init.zeros_(part.query.weight)
    torch.testing.assert_close(
        part(vectors(), SequenceInfo(valid=VALID)), pooling("mean")(vectors(), SequenceInfo(valid=VALID))
    )
    with pytest.raises(UserError, match="n_heads=4 does not divide d_model=6"):
        pooling("attention", n_heads=4)


def test_a_row_of_padding_alone_is_finite():
    for name in NAMES:
        out = pooling(name)(vectors(torch.float32)[:1], SequenceInfo(valid=torch.zeros(1, T, dtype=torch.bool)))
        assert out.isfinite().all(), name


def test_every_pooling_has_a_case():
    assert set(NAMES) == {e.name for e in own_entries().values() if e.kind == "pooling"}
