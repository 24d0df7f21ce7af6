"""Mamba's scan: segments and chunks against the recurrence as written, in values and gradients, with borders of documents and padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from components.functional import selective_scan as module
from components.functional.selective_scan import selective_scan, selective_scan_flops, selective_scan_reference

B, H, N = 2, 3, 4


def leaves(length, dtype=torch.float64):
    generator = torch.Generator().manual_seed(length)

    def draw(*shape):
        return torch.randn(*shape, dtype=dtype, generator=generator)

    found = [
        draw(B, H, length),
        F.softplus(draw(B, H, length)),
        -draw(H, N).exp(),
        draw(B, N, length),
        draw(B, N, length),
        draw(B, H, N),
    ]
    return [y.requires_grad_() for y in found]


def outcome(function, given, **borders):
    """Output, last state, and the gradients of something that depends on all of both."""
    out, last = function(*given[:5], state=given[5], **borders)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return out, last, *torch.autograd.grad((out * weight).sum() + last.sin().sum(), given)


@pytest.mark.parametrize("marked", [False, True], ids=["plain", "documents-and-padding"])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 16, 37, 100])
def test_segments_equal_the_recurrence(length, marked, monkeypatch):
    monkeypatch.setattr(module, "ON_CPU", 24 * B * H * N)  # segments of 24 positions
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(B, length, generator=generator) < 0.8
    borders = {"valid": valid, "start": valid & (torch.rand(B, length, generator=generator) < 0.2)} if marked else {}
    given = leaves(length)
    for got, want in zip(
        outcome(selective_scan, given, **borders), outcome(selective_scan_reference, given, **borders), strict=True
    ):
        torch.testing.assert_close(got, want)


def test_fp32_is_near_fp64_over_a_long_sequence():
    given = [y.detach() for y in leaves(2000)]
    wanted = selective_scan_reference(*given[:5])[0]
    found = selective_scan(*(y.float() for y in given[:5]))[0]
    assert (found.double() - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_its_flops_are_counted():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        selective_scan(*(y[:1] if i != 2 else y for i, y in enumerate(leaves(37)[:5])))
    assert counter.get_total_flops() == selective_scan_flops(37, H, N).executed
