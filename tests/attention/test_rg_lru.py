"""RG-LRU: transformers' block on the same weights, first values, documents, what a channel can keep."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mixer_tools import D, check_documents_and_padding, counted, drawn, info, inputs, reported

from components import build

WIDTH = 12


def block(part):
    gemma = pytest.importorskip("transformers.models.recurrent_gemma")
    config = gemma.RecurrentGemmaConfig(hidden_size=D, num_attention_heads=4, lru_width=WIDTH)
    other = gemma.modeling_recurrent_gemma.RecurrentGemmaRecurrentBlock(config, 0).double()
    with torch.no_grad():
        for p, mine in pairs(part, other):
            p.copy_(mine.view_as(p))
    return other


def pairs(part, other):
    """(theirs, ours), number for number in one order."""
    lru = other.rg_lru
    linear = [(other.linear_y, part.z), (other.linear_x, part.x), (other.linear_out, part.out)]
    return [
        *((getattr(a, n), getattr(b, n)) for a, b in linear for n in ("weight", "bias")),
        (other.conv_1d.weight, part.x_conv.taps),
        (other.conv_1d.bias, part.x_conv.bias),
        (lru.recurrent_param, part.decay),
        (lru.input_gate_weight, part.input_gate.weight),
        (lru.input_gate_bias, part.input_bias),
        (lru.recurrent_gate_weight, part.recurrence_gate.weight),
        (lru.recurrent_gate_bias, part.recurrence_bias),
    ]


def test_it_is_transformers_in_values_and_gradients():
    """Theirs keeps the state in fp32 whatever it is given."""
    part, x, near = drawn("rg_lru", width=WIDTH), inputs(length=20), {"rtol": 1e-4, "atol": 1e-5}
    other = block(part)
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    read, wanted = part(mine, info(20)), other(its, torch.arange(20)[None], None, use_cache=False)[0]
    torch.testing.assert_close(read, wanted, **near)
    read.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(mine.grad, its.grad, **near)
    for p, ours in pairs(part, other):
        torch.testing.assert_close(ours.grad.view_as(p), p.grad, **near)


def test_first_values_keep_nine_tenths_and_more():
    part = build("attention", "rg_lru", d_model=D)
    share = torch.exp(-F.softplus(part.decay))
    assert 0.9 < share.min() < share.max() < 0.999
    torch.testing.assert_close(share.square().diff(), torch.full((D - 1,), (0.999**2 - 0.81) / D), rtol=1e-3, atol=0)
    with pytest.raises(ValueError, match="n_heads=5 does not divide"):
        build("attention", "rg_lru", d_model=D, n_heads=5)


def test_a_channel_that_forgets_nothing_has_a_gradient():
    part = build("attention", "rg_lru", d_model=D).double()
    with torch.no_grad():
        part.decay.fill_(-60.0)
    part(inputs().requires_grad_(), info()).sum().backward()
    assert all(p.grad.isfinite().all() for p in part.parameters())


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_and_padding_anywhere(chunk):
    check_documents_and_padding(drawn("rg_lru"), chunk)


def test_flops():
    part = drawn("rg_lru", width=WIDTH)
    assert reported(part, 9).executed == counted(part, 9)
