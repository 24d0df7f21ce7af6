"""Multi-head latent attention against DeepSeek's formulas written out, its two forms of decoding, its small cache, its FLOPs."""

from __future__ import annotations

import pytest
import torch
from mixer_tools import D, T, counted, drawn, info, inputs, reported, stepwise

from components import build
from components.core.errors import UserError

SIZES = {"n_heads": 3, "nope_dim": 4, "rope_dim": 6, "v_dim": 5, "kv_rank": 7, "latent_norm": "rms"}


def rotated(y, base=10000.0):
    """(B, T, R): neighbours turn by position * base^(-2i/R), and are laid out in halves, as DeepSeek's code does."""
    width = y.shape[-1]
    angle = torch.arange(y.shape[1], dtype=torch.float64)[:, None] * base ** (-torch.arange(0, width, 2).double() / width)
    a, b = y[..., 0::2], y[..., 1::2]
    return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)


def normed(y, weight):
    return y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def deepseek(part, x, rope, scale=None):
    """Head by head, with the matrices joined as in the checkpoints (kv_a_proj_with_mqa, kv_b_proj)."""
    heads, nope, rope_dim, v_dim, rank = 3, 4, 6, 5, 7
    kv_a = torch.cat((part.kv_down.weight, part.k_rope.weight))
    kv_b = torch.cat((part.k_up.weight.view(heads, nope, rank), part.v_up.weight.view(heads, v_dim, rank)), 1).flatten(0, 1)
    q = part.q(x) if hasattr(part, "q") else normed(x @ part.q_down.weight.T, part.q_norm.weight) @ part.q_up.weight.T
    q = q.view(*x.shape[:2], heads, nope + rope_dim)
    compressed, k_rot = (x @ kv_a.T).split((rank, rope_dim), -1)
    kv = (normed(compressed, part.kv_norm.weight) @ kv_b.T).view(*x.shape[:2], heads, nope + v_dim)
    read = []
    for h in range(heads):
        q_rot = q[:, :, h, nope:]
        query = torch.cat((q[:, :, h, :nope], rotated(q_rot) if rope else q_rot), -1)
        key = torch.cat((kv[:, :, h, :nope], rotated(k_rot) if rope else k_rot), -1)
        scores = query @ key.transpose(1, 2) * ((nope + rope_dim) ** -0.5 if scale is None else scale)
        scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))
        read.append(scores.softmax(-1) @ kv[:, :, h, nope:])
    return torch.cat(read, -1) @ part.out.weight.T


@pytest.mark.parametrize("q_rank", [None, 8])
@pytest.mark.parametrize("position", ["rope", "none"])
@pytest.mark.parametrize("scale", [None, 0.2])
def test_formula(q_rank, position, scale):
    part = drawn("mla", **SIZES, q_rank=q_rank, position=position, scale=scale)
    # frequencies are fp32 in the part
    torch.testing.assert_close(
        part(inputs(), info()), deepseek(part, inputs(), position == "rope", scale), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("position", ["rope", "alibi", "none"])
@pytest.mark.parametrize("chunk", [1, 3])
def test_decoding_from_latent_vectors_equals_the_full_pass(position, chunk):
    part = drawn("mla", n_heads=4, kv_rank=8, latent_norm="rms", position=position)
    torch.testing.assert_close(stepwise(part, inputs(), chunk), part(inputs(), info()))


def test_both_forms_of_decoding_are_used_and_agree(monkeypatch):
    part = drawn("mla", **SIZES, position="rope")
    forms = [part.absorbs(1, tk) for tk in (1, 2, 3, 20)]
    assert forms == [False, True, True, True]
    outputs = []
    for always in (False, True):
        monkeypatch.setattr(type(part), "absorbs", lambda *_, a=always: a)
        outputs.append(stepwise(part, inputs(), 2))
    assert not torch.equal(*outputs)  # by rounding
    torch.testing.assert_close(*outputs)


def test_the_cache_holds_one_latent_vector_and_one_rotated_key_per_position():
    part, cache = drawn("mla", **SIZES, position="rope"), build("cache", "growing")
    at = info(cache=cache)
    cache.open(at.with_(ids=torch.zeros(2, T, dtype=torch.long)))
    part(inputs(), at)
    slot = cache.slot(part)
    assert slot.keys.read().shape == (2, 1, T, 7)
    assert slot.values.read().shape == (2, 1, T, 6)


def test_a_bias_enters_every_head_and_moves_the_output():
    plain, biased = (drawn("mla", **SIZES, position=p) for p in ("none", "alibi"))
    biased.load_state_dict(plain.state_dict())
    a, b = plain(inputs(), info()), biased(inputs(), info())
    torch.testing.assert_close(a[:, 0], b[:, 0])
    assert ((a - b).abs().amax((0, 2))[1:] > 1e-3).all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("q_rank", [None, 8])
def test_flops(q_rank, causal):
    part = drawn("mla", **SIZES, q_rank=q_rank, position="none")
    assert reported(part, 9, causal).executed == counted(part, 9, causal)
    assert reported(part, 9, True).executed - reported(part, 9, True).algorithm == 2 * 3 * (4 + 6 + 5) * (9 * 9 - 45)


def test_dropout_acts_in_training_alone():
    part = drawn("mla", **SIZES, position="none", dropout=0.5)
    assert torch.equal(part(inputs(), info()), part(inputs(), info()))
    assert not torch.equal(part.train()(inputs(), info()), part(inputs(), info()))


def test_biases_are_where_they_are_asked_for():
    part = drawn("mla", **SIZES, q_rank=8, position="none", bias=["q_down", "kv_down", "out"])
    assert {n for n, _ in part.named_parameters() if n.endswith("bias")} == {"q_down.bias", "kv_down.bias", "out.bias"}
    with pytest.raises(UserError, match="'k_up' can have none"):
        drawn("mla", **SIZES, position="none", bias=["k_up"])


def test_widths_that_are_not_given_follow_from_d_model():
    part = drawn("mla", n_heads=2, latent_norm="rms", position="none")
    assert (part.nope, part.rope, part.v_width, part.kv_down.out_features) == (8, 4, 8, 8)
    with pytest.raises(UserError, match=f"n_heads=3 does not divide d_model={D}"):
        drawn("mla", n_heads=3, latent_norm="rms", position="none")


@pytest.mark.parametrize("q_rank", [None, 8])
@pytest.mark.parametrize("version", [2, 3])
def test_is_transformers_attention_of_deepseek(version, q_rank):
    """Weights as the checkpoints join them; the remaining difference is theirs and ours rounding angles to fp32."""
    transformers = pytest.importorskip("transformers")
    from importlib import import_module

    theirs = import_module(f"transformers.models.deepseek_v{version}.modeling_deepseek_v{version}")
    sizes = {"kv_lora_rank": 7, "q_lora_rank": q_rank, "qk_rope_head_dim": 6, "qk_nope_head_dim": 4, "v_head_dim": 5}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    config = getattr(transformers, f"DeepseekV{version}Config")(hidden_size=D, attn_implementation="eager", **heads, **sizes)
    oracle = getattr(theirs, f"DeepseekV{version}Attention")(config, 0).double()
    norm = {"name": "rms", "eps": config.rms_norm_eps}
    part = drawn("mla", **{**SIZES, "n_heads": 4, "latent_norm": norm}, q_rank=q_rank, position="rope")
    up = torch.cat((part.k_up.weight.view(4, 4, 7), part.v_up.weight.view(4, 5, 7)), 1).flatten(0, 1)
    pairs = {
        "kv_a_proj_with_mqa": torch.cat((part.kv_down.weight, part.k_rope.weight)),
        "kv_a_layernorm": part.kv_norm.weight,
        "kv_b_proj": up,
        "o_proj": part.out.weight,
    }
    if q_rank is None:
        pairs["q_proj"] = part.q.weight
    else:
        pairs |= {"q_a_proj": part.q_down.weight, "q_a_layernorm": part.q_norm.weight, "q_b_proj": part.q_up.weight}
    oracle.load_state_dict({f"{name}.weight": value for name, value in pairs.items()})
    angles = getattr(theirs, f"DeepseekV{version}RotaryEmbedding")(config)(inputs(), torch.arange(T)[None])
    hidden = torch.full((T, T), float("-inf"), dtype=torch.float64).triu(1)[None, None]
    wanted = oracle(inputs(), position_embeddings=angles, attention_mask=hidden)[0]
    torch.testing.assert_close(part(inputs(), info()), wanted, rtol=1e-5, atol=1e-5)
