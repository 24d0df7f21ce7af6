"""LFM2's gated short convolution: transformers' class on the same weights, how far it sees, documents, padding, cache."""

from __future__ import annotations

import pytest
import torch
from mixer_tools import D, T, check_documents_and_padding, counted, drawn, info, inputs, reported

from components import build


def theirs(part, bias):
    lfm2 = pytest.importorskip("transformers.models.lfm2")
    config = lfm2.Lfm2Config(
        hidden_size=D, conv_L_cache=part.conv.taps.shape[1], conv_bias=bias, layer_types=["conv"], num_hidden_layers=1
    )
    other = lfm2.modeling_lfm2.Lfm2ShortConv(config, 0).double()
    with torch.no_grad():
        other.in_proj.weight.copy_(torch.cat([part.B.weight, part.C.weight, part.x.weight]))
        other.conv.weight.copy_(part.conv.taps[:, None])
        other.out_proj.weight.copy_(part.out.weight)
        if bias:
            other.in_proj.bias.copy_(torch.cat([part.B.bias, part.C.bias, part.x.bias]))
            other.conv.bias.copy_(part.conv.bias)
            other.out_proj.bias.copy_(part.out.bias)
    return other


@pytest.mark.parametrize(("size", "bias"), [(3, False), (4, True), (1, False)])
def test_it_is_transformers_in_values_and_gradients(size, bias):
    part = drawn("short_convolution", conv_size=size, bias=bias)
    other, x = theirs(part, bias), inputs()
    weight = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    read, wanted = part(mine, info()), other(its)
    torch.testing.assert_close(read, wanted)
    (read * weight).sum().backward()
    (wanted * weight).sum().backward()
    torch.testing.assert_close(mine.grad, its.grad)
    torch.testing.assert_close(part.conv.taps.grad, other.conv.weight.grad[:, 0])
    torch.testing.assert_close(
        torch.cat([part.B.weight.grad, part.C.weight.grad, part.x.weight.grad]), other.in_proj.weight.grad
    )


def test_it_sees_as_far_as_its_taps():
    part, x = drawn("short_convolution"), inputs(1).requires_grad_()
    (gradient,) = torch.autograd.grad(part(x, info())[0, 5].sum(), x)
    assert (gradient[0].abs().sum(-1) > 0).tolist() == [False, False, False, True, True, True, False]


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_and_padding_anywhere(chunk):
    check_documents_and_padding(drawn("short_convolution"), chunk)


def test_flops():
    part = drawn("short_convolution")
    assert reported(part, 9).executed == counted(part, 9) == 9 * 2 * 4 * D * D


def test_a_cache_keeps_what_its_taps_read():
    part, cache = drawn("short_convolution", conv_size=4), build("cache", "growing")
    here = info(cache=cache)
    cache.open(here.with_(ids=torch.zeros(2, T, dtype=torch.long)))
    part(inputs(), here)
    kept, documents = cache.slot(part).state["earlier"]
    torch.testing.assert_close(kept, (part.B(inputs()) * part.x(inputs()))[:, -3:])
    assert documents is None
