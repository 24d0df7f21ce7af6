"""Forgetting attention against the paper's formula and against plain attention, its decay through padding, documents and decoding, its FLOPs."""

from __future__ import annotations

import math

import pytest
import torch
from mixer_tools import D, T, counted, drawn, info, inputs, reported, stepwise

from components import build


def naive(part, x, heads=4, kv_heads=4):
    """Eq. 5: the weight of key j is exp(q k) times the product of the forget gates after j, up to the query."""
    width = D // heads
    q = part.q(x).view(*x.shape[:2], heads, width)
    k, v = (p(x).view(*x.shape[:2], kv_heads, width) for p in (part.k, part.v))
    gates = torch.sigmoid(part.forget(x))
    out = torch.zeros_like(q)
    for h in range(heads):
        g = h // (heads // kv_heads)
        for i in range(x.shape[1]):
            total, read = 0.0, 0.0
            for j in range(i + 1):
                score = (q[:, i, h] * k[:, j, g]).sum(-1) / math.sqrt(width)
                weight = score.exp() * gates[:, j + 1 : i + 1, h].prod(1)
                total, read = total + weight, read + weight[:, None] * v[:, j, g]
            out[:, i, h] = read / total[:, None]
    return part.out(out.flatten(2))


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_formula(kv_heads):
    part = drawn("forgetting", n_kv_heads=kv_heads, position="none")
    torch.testing.assert_close(part(inputs(), info()), naive(part, inputs(), kv_heads=kv_heads))


@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
def test_without_forgetting_it_is_plain_attention(position):
    part, plain = (drawn(n, position=position, n_heads=4) for n in ("forgetting", "mha"))
    plain.load_state_dict(part.state_dict(), strict=False)
    assert not torch.allclose(part(inputs(), info()), plain(inputs(), info()))
    with torch.no_grad():
        part.forget.weight.zero_()
        part.forget.bias.fill_(40.0)
    torch.testing.assert_close(part(inputs(), info()), plain(inputs(), info()))


def test_forgetting_everything_leaves_each_position_to_itself():
    part = drawn("forgetting", position="none")
    with torch.no_grad():
        part.forget.weight.zero_()
        part.forget.bias.fill_(-200.0)
    torch.testing.assert_close(part(inputs(), info()), part.out(part.v(inputs())))


@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
@pytest.mark.parametrize("chunk", [1, 3])
def test_cached_equals_the_full_pass(position, chunk):
    part = drawn("forgetting", position=position)
    torch.testing.assert_close(stepwise(part, inputs(), chunk), part(inputs(), info()))


@pytest.mark.parametrize("chunk", [1, 4])
def test_padding_in_the_middle_forgets_nothing(chunk):
    part = drawn("forgetting", position="none")
    valid = torch.tensor([[True, True, False, False, True, True, True]]).expand(2, -1)
    kept = inputs()[:, valid[0]]
    wanted = part(kept, info(kept.shape[1]))
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    torch.testing.assert_close(part(inputs(), info(valid=valid, positions=positions))[:, valid[0]], wanted)
    torch.testing.assert_close(stepwise(part, inputs(), chunk, valid=valid, positions=positions)[:, valid[0]], wanted)


def test_seen_whole_it_forgets_in_both_directions():
    """The output of the reversed sequence is the reversed output when the gates are alike everywhere."""
    part = drawn("forgetting", position="none")
    with torch.no_grad():
        part.forget.weight.zero_()
    at = info(causal=False)
    torch.testing.assert_close(part(inputs().flip(1), at).flip(1), part(inputs(), at))


def test_sums_stay_in_fp32_when_the_model_is_bf16_and_are_kept_so():
    part = drawn("forgetting", position="none").bfloat16()
    cache = build("cache", "growing")
    at = info(cache=cache)
    cache.open(at.with_(ids=torch.zeros(2, T, dtype=torch.long)))
    part(inputs().bfloat16(), at)
    assert cache.slot(part, -1).keys.read().dtype == torch.float32
    assert cache.slot(part).keys.read().dtype == torch.bfloat16


@pytest.mark.parametrize("causal", [True, False])
def test_flops(causal):
    part = drawn("forgetting", n_kv_heads=2, position="none")
    assert reported(part, 9, causal).executed == counted(part, 9, causal)
    assert reported(part, 9, True).executed - reported(part, 9, True).algorithm == 4 * D * (81 - 45)


def test_gate_and_norms_take_part():
    plain = drawn("forgetting", position="none")
    for change in ({"qk_norm": "rms"}, {"head_norm": "rms"}):
        other = drawn("forgetting", position="none", **change)
        other.load_state_dict(plain.state_dict(), strict=False)
        assert not torch.allclose(other(inputs(), info()), plain(inputs(), info())), change


def test_dropout_acts_in_training_alone():
    part = drawn("forgetting", position="none", dropout=0.5)
    assert torch.equal(part(inputs(), info()), part(inputs(), info()))
    assert not torch.equal(part.train()(inputs(), info()), part(inputs(), info()))
