"""RWKV-7 against its released formulas written out; chunks against the loop over positions; documents, padding, decoding, the first layer's values, FLOPs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from mixer_tools import D, check_documents_and_padding, counted, drawn, info, inputs, reported, stepwise

from components import build
from components.core.errors import UserError
from components.core.sockets import Place
from components.functional.rwkv7 import CHUNK, rwkv7, rwkv7_reference

SECOND = {"place": Place(1, 2)}


def operands(length, rows=2, heads=3, width=4, value_width=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(size):
        return torch.randn(rows, length, heads, size, dtype=torch.float64, generator=generator)

    direction, rate = F.normalize(normal(width), dim=-1), torch.sigmoid(normal(width))
    log_w = -math.exp(-0.5) * torch.sigmoid(3 * normal(width))
    every = [normal(width), log_w, normal(width), normal(value_width), -direction, direction * rate]
    state = torch.randn(rows, heads, width, value_width, dtype=torch.float64, generator=generator)
    start = torch.rand(rows, length, generator=generator) < 0.1
    return [y.to(dtype) for y in every], start, state.to(dtype)


@pytest.mark.parametrize("length", [1, 5, CHUNK, CHUNK + 1, 3 * CHUNK - 7])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("documents", [False, True])
def test_chunks_equal_the_loop_in_values_and_gradients(length, begun, documents):
    every, start, state = operands(length)
    found = []
    for form in (rwkv7_reference, rwkv7):
        leaves = [y.clone().requires_grad_() for y in (*every, state)]
        read, last = form(*leaves[:6], start if documents else None, leaves[6] if begun else None)
        (read.sin().sum() + last.cos().sum()).backward()
        found.append([read.detach(), last.detach(), *(y.grad for y in leaves if y.grad is not None)])
    assert len(found[0]) == len(found[1]) == 2 + 6 + begun
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_chunks_in_fp32_at_the_fastest_decay_are_as_good_as_the_loop():
    every, _, state = operands(4 * CHUNK)
    every[1] = torch.full_like(every[1], -math.exp(-0.5))
    exact = rwkv7_reference(*every, None, state)[0]
    errors = [
        (form(*(y.float() for y in every), None, state.float())[0].double() - exact).abs().max() / exact.abs().max()
        for form in (rwkv7_reference, rwkv7)
    ]
    assert max(errors) < 2e-6, errors


def test_what_is_unlearnt_along_its_own_key_is_replaced():
    """With rate 1 and no decay the state answers the newest key with the newest value, whatever it held: the delta rule."""
    (_, log_w, _, v, a, _), _, state = operands(1, width=4)
    key = -a
    read, _ = rwkv7(key, torch.zeros_like(log_w), key, v, a, key, None, state)
    torch.testing.assert_close(read, v)


def released(part, x, first=None):
    """Section 4.1 position by position and head by head, in the released models' order; (output, values handed on)."""
    out, heads, width = [], 4, D // 4
    states = torch.zeros(x.shape[0], heads, width, width, dtype=torch.float64)
    previous, handed = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        xr, xw, xk, xv, xa, xg = (x[:, t] + (previous - x[:, t]) * getattr(part, f"shift_{n}") for n in "rwkvag")
        previous = x[:, t]
        r, k, v = part.r(xr), part.k(xk), part.v(xv)
        handed.append(v)
        w = torch.exp(-torch.exp(-F.softplus(-(part.decay + part.decay_up(torch.tanh(part.decay_down(xw))))) - 0.5))
        if first is not None:
            v = v + (first[:, t] - v) * torch.sigmoid(part.share + part.value_up(part.value_down(xv)))
        rate = torch.sigmoid(part.rate + part.rate_up(part.rate_down(xa)))
        gate = part.gate_up(torch.sigmoid(part.gate_down(xg)))
        kk, k = k * part.key_scale, k * (1 + (rate - 1) * part.key_rate)
        y = []
        for h in range(heads):
            at = slice(h * width, (h + 1) * width)
            direction = kk[:, at] / kk[:, at].norm(dim=-1, keepdim=True)
            s = states[:, h].clone()
            unlearnt = torch.einsum("bvk,bk->bv", s, -direction)
            s = s * w[:, None, at] + unlearnt[:, :, None] * (direction * rate[:, at])[:, None]
            s = s + v[:, at][:, :, None] * k[:, at][:, None]
            states[:, h] = s
            read = torch.einsum("bvk,bk->bv", s, r[:, at])
            read = (read - read.mean(-1, keepdim=True)) / (read.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            read = read * part.head_norm.weight[h] + part.head_norm.bias[h]
            y.append(read + (r[:, at] * k[:, at] * part.bonus[at]).sum(-1, keepdim=True) * v[:, at])
        out.append(part.out(torch.cat(y, -1) * gate))
    return torch.stack(out, 1), torch.stack(handed, 1)


def test_formula_of_the_first_layer():
    part, at = drawn("rwkv7"), info()
    wanted, handed = released(part, inputs())
    torch.testing.assert_close(part(inputs(), at), wanted)
    torch.testing.assert_close(at.out["rwkv7_first_value"], handed)


def test_formula_of_a_later_layer_with_the_first_ones_values():
    part, first = drawn("rwkv7", **SECOND), inputs(seed=5)
    at = info(carry={"rwkv7_first_value": first})
    torch.testing.assert_close(part(inputs(), at), released(part, inputs(), first)[0])
    assert "rwkv7_first_value" not in at.out
    assert not hasattr(drawn("rwkv7", **SECOND, value_residual=False), "share")


def test_the_first_layer_of_this_kind_hands_on_wherever_it_stands():
    at = info()
    drawn("rwkv7", **SECOND)(inputs(), at)
    assert "rwkv7_first_value" in at.out


@pytest.mark.parametrize("chunk", [1, 3])
def test_cached_equals_the_full_pass(chunk):
    part = drawn("rwkv7")
    torch.testing.assert_close(stepwise(part, inputs(), chunk), part(inputs(), info()))


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_and_padding_anywhere(chunk):
    check_documents_and_padding(drawn("rwkv7"), chunk)


def test_reads_from_left_to_right_in_an_encoder_too():
    part = drawn("rwkv7")
    assert torch.equal(part(inputs(), info(causal=False)), part(inputs(), info()))


def test_first_values_are_the_released_ones():
    part = build("attention", "rwkv7", d_model=8, n_heads=2, place=Place(1, 3))
    n = torch.arange(8.0)
    torch.testing.assert_close(part.shift_w, 1 - (n / 8) ** (0.9 * 2 / 3))
    zigzag = torch.tensor([-1, -1 / 9, 1 / 9, 1] * 2)
    torch.testing.assert_close(part.decay, -6 + 6 * (n / 7) ** (1 + 0.5**0.3) + 0.5 + 2.5 * zigzag)
    torch.testing.assert_close(part.rate, -0.19 + zigzag * 0.3 + (n / 7 - 0.5) * 0.4)
    torch.testing.assert_close(part.share, 0.73 - (n / 7 - 0.5) * 0.4)


@pytest.mark.parametrize("options", [{}, SECOND], ids=["first", "later"])
@pytest.mark.parametrize("length", [9, CHUNK + 3])
def test_flops(options, length):
    part = drawn("rwkv7", decay_rank=3, **options)
    found = reported(part, length)
    assert found.executed == counted(part, length)
    linear = sum(2 * m.weight.numel() * length for m in part.modules() if isinstance(m, torch.nn.Linear))
    assert found.algorithm == linear + 8 * length * D * D // 4


def test_ranks_follow_from_the_width_and_are_never_above_it():
    part = build("attention", "rwkv7", d_model=1024, n_heads=16, place=Place(1, 2))
    ranks = [getattr(part, f"{n}_down").out_features for n in ("decay", "rate", "value", "gate")]
    assert ranks == [64, 64, 64, 160]
    assert drawn("rwkv7").gate_down.out_features == D


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="n_heads=3 does not divide d_model=16"):
        drawn("rwkv7", n_heads=3)
