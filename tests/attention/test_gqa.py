"""Grouped-query attention: its options against the formula written out, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from components import build
from components.core.errors import UserError
from components.core.sockets import Place, SequenceInfo

D, T = 16, 6


def attention(**options):
    part = build(
        "attention", "gqa", **{"d_model": D, "context_length": T, "n_heads": 4, "position": "none", **options}
    ).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.empty(p.shape).normal_(0, 0.5, generator=generator))
    return part


def info(**changes):
    return SequenceInfo(**{"positions": torch.arange(T)[None], **changes})


def x(rows=2, t=T):
    return torch.randn(rows, t, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def naive(part, x, heads=4, kv_heads=4, norm=None, cap=None, scale=None):
    """Head by head, query by query."""
    width = part.head_dim
    q, k, v = part.q(x), part.k(x), part.v(x)
    out = torch.zeros_like(q)
    for h in range(heads):
        g = h // (heads // kv_heads)
        for t in range(x.shape[1]):
            a = q[:, t, h * width : (h + 1) * width]
            keys, values = (y[:, : t + 1, g * width : (g + 1) * width] for y in (k, v))
            if norm:
                a, keys = norm(a), norm(keys)
            scores = torch.einsum("bk,bsk->bs", a, keys) * (width**-0.5 if scale is None else scale)
            scores = scores if cap is None else cap * torch.tanh(scores / cap)
            out[:, t, h * width : (h + 1) * width] = torch.einsum("bs,bsk->bk", scores.softmax(-1), values)
    return part.out(out)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_kv_heads": 2},
        {"n_kv_heads": 1},
        {"head_dim": 6},
        {"soft_cap": 1.5},
        {"scale": 0.2},
        {"bias": ["q", "k", "v", "out"]},
    ],
    ids=lambda o: "-".join(o) or "plain",
)
def test_formula(options):
    part = attention(**options)
    wanted = naive(part, x(), kv_heads=options.get("n_kv_heads", 4), cap=options.get("soft_cap"), scale=options.get("scale"))
    torch.testing.assert_close(part(x(), info()), wanted)


def test_scale_by_layer_divides_by_the_number_of_the_layer():
    for options, scale in (({}, 0.5), ({"scale": 0.2}, 0.2)):
        part = attention(scale_by_layer=True, place=Place(2, 4), **options)
        torch.testing.assert_close(part(x(), info()), naive(part, x(), scale=scale / 3))
    with pytest.raises(UserError, match="scale_by_layer=true needs a layer"):
        attention(scale_by_layer=True)


def test_qk_norm_divides_each_head_by_its_root_mean_square():
    part = attention(qk_norm="rms")
    with torch.no_grad():
        part.q_norm.weight.fill_(1.0)
        part.k_norm.weight.fill_(1.0)
    torch.testing.assert_close(
        part(x(), info()), naive(part, x(), norm=lambda y: y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt())
    )


def test_qk_norm_over_sets_the_width_of_its_scale():
    assert attention(qk_norm="rms").q_norm.weight.shape == (4,)
    assert attention(qk_norm="rms", qk_norm_over="full", n_kv_heads=2).k_norm.weight.shape == (8,)
    assert attention(qk_norm="rms", qk_norm_over="per_head_weight", n_kv_heads=2).k_norm.weight.shape == (2, 4)


def test_qk_norm_after_the_rotation_differs_only_by_its_scale():
    """A rotation keeps the root mean square, so with equal scales the two orders agree, and with unequal ones they do not."""
    before, after = (attention(qk_norm="rms", qk_norm_at=at, position="rope") for at in ("before", "after"))
    assert not torch.allclose(before(x(), info()), after(x(), info()))
    for part in (before, after):
        with torch.no_grad():
            part.q_norm.weight.fill_(1.0)
            part.k_norm.weight.fill_(1.0)
    torch.testing.assert_close(before(x(), info()), after(x(), info()), rtol=1e-5, atol=1e-5)


def test_clip_bounds_queries_keys_and_values():
    part = attention(clip=0.1)
    assert part.split_heads(part.q(x())).abs().max() <= 0.1
    assert not torch.allclose(part(x(), info()), attention()(x(), info()))


def test_sinks_take_weight_and_give_nothing():
    part = attention(sinks=True)
    part.load_state_dict(attention().state_dict(), strict=False)
    with torch.no_grad():
        part.sink.fill_(-1e9)
    torch.testing.assert_close(part(x(), info()), attention()(x(), info()))
    with torch.no_grad():
        part.sink.fill_(1e9)
    assert part(x(), info()).abs().max() < 1e-6


def test_dropout_acts_in_training_alone():
    part = attention(dropout=0.5)
    assert torch.equal(part.eval()(x(), info()), part.eval()(x(), info()))
    assert not torch.equal(part.train()(x(), info()), part.train()(x(), info()))


def test_cross_attention_sees_the_whole_memory_and_remembers_it():
    part = attention(d_memory=D, mask={"name": "sliding_window", "window": 1}, position="rope")
    memory = x(2, 9)
    at = info(memory=memory, memory_info=SequenceInfo(positions=torch.arange(9)[None], causal=False))
    out = part(x(), at)
    changed = memory.clone()
    changed[:, -1] += 1
    assert not torch.allclose(out[:, 0], part(x(), info(memory=changed, memory_info=at.memory_info))[:, 0])
    cache = build("cache", "growing")
    cached = info(memory=memory, memory_info=at.memory_info, cache=cache)
    torch.testing.assert_close(part(x(), cached), out)
    torch.testing.assert_close(part(x(), info(memory=changed, memory_info=at.memory_info, cache=cache)), out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_heads": 5}, "n_heads=5 does not divide d_model=16"),
        ({"n_kv_heads": 3}, "n_kv_heads=3 does not divide n_heads=4"),
        ({"bias": ["w"]}, "'w' is no projection"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        attention(**options)
