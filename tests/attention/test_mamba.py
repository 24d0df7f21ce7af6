"""Mamba: transformers' mixer on the same weights, with and without norms, first values, a task that needs selection."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mixer_tools import D, T, check_documents_and_padding, counted, drawn, info, inputs, reported

from components import build


def theirs(part, bias):
    mamba = pytest.importorskip("transformers.models.mamba")
    sizes = {"hidden_size": D, "state_size": part.A_log.shape[1], "time_step_rank": part.dt_up.weight.shape[1]}
    config = mamba.MambaConfig(**sizes, use_bias=bias, use_conv_bias=part.x_conv.bias is not None, num_hidden_layers=1)
    other = mamba.modeling_mamba.MambaMixer(config, 0).double()
    with torch.no_grad():
        for p, made in pairs(part, other):
            p.copy_(torch.cat(made))
    return other


def pairs(part, other):
    """(theirs, ours that make it)."""
    found = [
        (other.in_proj.weight, [part.x.weight, part.z.weight]),
        (other.conv1d.weight, [part.x_conv.taps[:, None]]),
        (other.x_proj.weight, [part.dt_down.weight, part.B.weight, part.C.weight]),
        (other.dt_proj.weight, [part.dt_up.weight]),
        (other.dt_proj.bias, [part.dt_bias]),
        (other.A_log, [part.A_log]),
        (other.D, [part.D]),
        (other.out_proj.weight, [part.out.weight]),
    ]
    if other.in_proj.bias is not None:
        found += [(other.in_proj.bias, [part.x.bias, part.z.bias]), (other.out_proj.bias, [part.out.bias])]
    return found + ([] if other.conv1d.bias is None else [(other.conv1d.bias, [part.x_conv.bias])])


@pytest.mark.parametrize(
    "options", [{}, {"state_size": 5, "dt_rank": 3, "bias": True, "conv_bias": False}], ids=["plain", "others"]
)
def test_it_is_transformers_in_values_and_gradients(options):
    """Theirs computes the scan in fp32 whatever it is given."""
    part = drawn("mamba", std=0.3, **options)
    other, x = theirs(part, options.get("bias", False)), inputs(length=20)
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    read, wanted = part(mine, info(20)), other(its)
    near = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(read, wanted, **near)
    read.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(mine.grad, its.grad, **near)
    for p, made in pairs(part, other):
        grads = [y.grad for y in (part_of(part, m) for m in made)]
        torch.testing.assert_close(torch.cat(grads).view_as(p), p.grad, **near)


def part_of(part, tensor):
    """The parameter that a tensor is, or is a view of."""
    return next(p for p in part.parameters() if p.data_ptr() == tensor.data_ptr())


def test_norms_stand_on_dt_b_and_c():
    part = drawn("mamba", inner_norm={"name": "rms", "scale": "none"})
    plain = drawn("mamba")
    x = inputs()
    u = F.silu(sum(F.pad(part.x(x), (0, 0, n, 0))[:, :T] * part.x_conv.taps[:, -1 - n] for n in range(4)) + part.x_conv.bias)
    for module, norm in ((part.dt_down, part.dt_norm), (part.B, part.B_norm), (part.C, part.C_norm)):
        y = module(u)
        torch.testing.assert_close(norm(y), y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt())
    assert not torch.allclose(part(x, info()), plain(x, info()))


def test_first_values():
    part = build("attention", "mamba", d_model=D)
    torch.testing.assert_close(part.A_log.exp(), torch.arange(1.0, 17.0).expand(2 * D, -1))
    dt = F.softplus(part.dt_bias)
    torch.testing.assert_close(dt[[0, -1]], torch.tensor([0.001, 0.1]), rtol=1e-4, atol=0)
    assert (part.D == 1).all()
    with pytest.raises(ValueError, match=r"expand=1\.3 times d_model=16"):
        build("attention", "mamba", d_model=D, expand=1.3)


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_and_padding_anywhere(chunk):
    check_documents_and_padding(drawn("mamba"), chunk)


def test_flops():
    part = drawn("mamba")
    assert reported(part, 9).executed == counted(part, 9)
