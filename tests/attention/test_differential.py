"""Differential attention against the paper's formula, its lambda by depth, what a common mode does to it, its FLOPs."""

from __future__ import annotations

import math

import pytest
import torch
from mixer_tools import D, T, counted, drawn, info, inputs, reported, stepwise

from components import build
from components.core.errors import UserError
from components.core.sockets import Place


def naive(part, x, heads, kv_heads, lam, init):
    """Eq. 1 and 3, pair of maps by pair of maps."""
    width = part.head_dim
    q, k, v = part.q(x), part.k(x), part.v(x)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    read = []
    for h in range(heads):
        g = h // (heads // kv_heads)
        maps = []
        for half in range(2):
            at_q, at_k = (half * heads + h) * width, (half * kv_heads + g) * width
            scores = q[..., at_q : at_q + width] @ k[..., at_k : at_k + width].transpose(1, 2) / math.sqrt(width)
            maps.append(scores.masked_fill(hidden, float("-inf")).softmax(-1))
        y = (maps[0] - lam * maps[1]) @ v[..., 2 * g * width : 2 * (g + 1) * width]
        y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * part.head_norm.weight
        read.append(y * (1 - init))
    return part.out(torch.cat(read, -1))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_formula(kv_heads):
    part = drawn("differential", n_kv_heads=kv_heads, position="none", place=Place(3, 12))
    init = 0.8 - 0.6 * math.exp(-0.9)
    a, b, c, d = (getattr(part, f"lambda_{n}") for n in ("q1", "k1", "q2", "k2"))
    lam = (torch.exp(a @ b) - torch.exp(c @ d) + init).item()
    torch.testing.assert_close(part(inputs(), info()), naive(part, inputs(), 4, kv_heads, lam, init))


def test_lambda_starts_at_its_initial_value_which_grows_with_depth():
    for width in (16, 24):  # vectors of even and odd width
        parts = [build("attention", "differential", d_model=width, position="none", place=Place(i, 4)) for i in (0, 1, 3)]
        for part, index in zip(parts, (0, 1, 3)):
            part.weight().backward()
            assert part.weight().item() == pytest.approx(0.8 - 0.6 * math.exp(-0.3 * index))
            assert all((p.grad.abs() > 0.05).all() for p in part._vectors())
    assert build("attention", "differential", d_model=16, position="none", lambda_init=0.3).weight().item() == pytest.approx(
        0.3
    )


def test_two_equal_maps_cancel_but_for_what_lambda_leaves():
    """With q2 = q1 and k2 = k1 the head reads (1 - lambda) times what one map reads (without the norm)."""
    part = drawn("differential", position="none", head_norm="none")
    with torch.no_grad():
        for matrix in (part.q.weight, part.k.weight):
            matrix[D // 2 :] = matrix[: D // 2]
    read, lam = part(inputs(), info()), part.weight()
    with torch.no_grad():
        part.lambda_q1.fill_(0.3)
    assert abs(part.weight() - lam) > 1e-2
    torch.testing.assert_close(part(inputs(), info()) / (1 - part.weight()), read / (1 - lam))


@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
@pytest.mark.parametrize("chunk", [1, 3])
def test_cached_equals_the_full_pass(position, chunk):
    part = drawn("differential", position=position, n_kv_heads=2, head_dim=4)
    torch.testing.assert_close(stepwise(part, inputs(), chunk), part(inputs(), info()))


def test_a_window_hides_what_is_further_away():
    part = drawn("differential", position="none", mask={"name": "sliding_window", "window": 2})
    changed = inputs()
    changed[:, 0] += 1
    moved = (part(changed, info()) - part(inputs(), info())).abs().amax((0, 2)) > 0
    assert moved.tolist() == [True, True] + [False] * (T - 2)


@pytest.mark.parametrize("causal", [True, False])
def test_flops(causal):
    part = drawn("differential", n_kv_heads=2, position="none")
    assert reported(part, 9, causal).executed == counted(part, 9, causal)
    assert reported(part, 9, True).executed - reported(part, 9, True).algorithm == 6 * D * (81 - 45)


def test_dropout_acts_in_training_alone():
    part = drawn("differential", position="none", dropout=0.5)
    assert torch.equal(part(inputs(), info()), part(inputs(), info()))
    assert not torch.equal(part.train()(inputs(), info()), part(inputs(), info()))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="twice n_heads=5 does not divide d_model=16; choose n_heads among the divisors of 8"):
        drawn("differential", n_heads=5, position="none")
    with pytest.raises(UserError, match="n_kv_heads=3 does not divide n_heads=4"):
        drawn("differential", n_kv_heads=3, position="none")


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_is_transformers_attention_of_diff_llama(kv_heads):
    """Their value heads i and i + half are the two halves of our value head i; all else has our order."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.diffllama import modeling_diffllama as theirs

    heads = {"num_attention_heads": 4, "num_key_value_heads": kv_heads, "head_dim": 4}
    config = transformers.DiffLlamaConfig(hidden_size=D, attn_implementation="eager", **heads)
    oracle = theirs.DiffLlamaAttention(config, layer_idx=3).double()
    rope, norm = {"name": "rope", "layout": "half"}, {"name": "rms", "eps": config.rms_norm_eps}
    ours = {"n_heads": 2, "n_kv_heads": kv_heads // 2, "position": rope, "head_norm": norm, "place": Place(3, 12)}
    part = drawn("differential", **ours)
    with torch.no_grad():
        part.head_norm.weight.fill_(1.0)  # theirs has none
        for name, matrix in (("q", part.q.weight), ("k", part.k.weight), ("o", part.out.weight)):
            getattr(oracle, f"{name}_proj").weight.copy_(matrix)
        oracle.v_proj.weight.copy_(part.v.weight.view(kv_heads // 2, 2, 4, D).transpose(0, 1).reshape(-1, D))
        for name in ("q1", "k1", "q2", "k2"):
            getattr(oracle, f"lambda_{name}").copy_(getattr(part, f"lambda_{name}"))
    angles = theirs.DiffLlamaRotaryEmbedding(config)(inputs(), torch.arange(T)[None])
    hidden = torch.full((T, T), float("-inf"), dtype=torch.float64).triu(1)[None, None]
    wanted = oracle(inputs(), position_embeddings=angles, attention_mask=hidden)[0]
    torch.testing.assert_close(part(inputs(), info()), wanted, rtol=1e-5, atol=1e-5)
