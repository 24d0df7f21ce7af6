"""Parallel hybrid: a layer of Falcon-H1 on the same weights, documents, what each mixer hands on, what is refused."""

from __future__ import annotations

import pytest
import torch
from mixer_tools import D, check_documents_and_padding, counted, drawn, info, inputs, reported

from components import build
from components.compose import compose
from components.core.errors import UserError
from components.core.sockets import Place

FACTORS = {"attention_in": 1.2, "attention_out": 0.9, "recurrent_in": 1.25, "recurrent_out": 0.6}
PROJECTED = [0.9, 1.1, 0.8, 1.2, 1.3]
PLAIN = {"name": "gqa", "n_heads": 4, "n_kv_heads": 2, "position": "none"}


def hybrid(**options):
    mamba = {"name": "mamba2", "n_heads": 4, "n_groups": 2, "state_size": 6, "output_norm": "none", "multipliers": PROJECTED}
    rotating = {**PLAIN, "position": {"name": "rope", "layout": "half"}}
    return drawn("parallel_hybrid", **{"attention_mixer": rotating, "recurrent_mixer": mamba, **FACTORS, **options})


def layer(part):
    """Their decoder layer with these weights and constants, and a function that mixes as it does."""
    falcon = pytest.importorskip("transformers.models.falcon_h1")
    config = falcon.FalconH1Config(
        **{"hidden_size": D, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": 9},
        **{
            "mamba_d_ssm": 2 * D,
            "mamba_n_heads": 4,
            "mamba_n_groups": 2,
            "mamba_d_state": 6,
            "ssm_multipliers": PROJECTED,
            "pad_token_id": 0,
        },
        **{
            "attention_in_multiplier": 1.2,
            "attention_out_multiplier": 0.9,
            "ssm_in_multiplier": 1.25,
            "ssm_out_multiplier": 0.6,
        },
    )
    model = falcon.FalconH1Model(config).double()
    one = model.layers[0]
    with torch.no_grad():
        for p, made in pairs(part, one):
            p.copy_(torch.cat(made))

    def mixed(x):
        """The lines of their layer between its norm and its residual."""
        places = torch.arange(x.shape[1])[None]
        mask = torch.full((x.shape[1],) * 2, -torch.inf, dtype=x.dtype).triu(1)[None, None]
        read = one.self_attn(x * 1.2, position_embeddings=model.rotary_emb(x, places), attention_mask=mask)[0]
        return one.mamba(x) * one.ssm_out_multiplier + read * one.attn_out_multiplier

    return one, mixed


def pairs(part, one):
    """(theirs, ours that make it)."""
    a, m = part.attention_mixer, part.recurrent_mixer
    taps = [conv.taps[:, None] for conv in (m.x_conv, m.B_conv, m.C_conv)]
    return [
        *(
            (getattr(one.self_attn, f"{t}_proj").weight, [o.weight])
            for t, o in zip("qkvo", (a.q, a.k, a.v, a.out), strict=True)
        ),
        (one.mamba.in_proj.weight, [p.weight for p in (m.z, m.x, m.B, m.C, m.dt)]),
        (one.mamba.conv1d.weight, taps),
        (one.mamba.conv1d.bias, [m.x_conv.bias, m.B_conv.bias, m.C_conv.bias]),
        *((getattr(one.mamba, n), [getattr(m, n)]) for n in ("A_log", "D", "dt_bias")),
        (one.mamba.out_proj.weight, [m.out.weight]),
    ]


def test_it_is_a_layer_of_falcon_h1_in_values_and_gradients():
    """Theirs computes the scan and the angles in fp32 whatever it is given."""
    part, near = hybrid(), {"rtol": 1e-4, "atol": 2e-5}
    one, mixed = layer(part)
    x = inputs(length=20)
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    read, wanted = part(mine, info(20)), mixed(its)
    torch.testing.assert_close(read, wanted, **near)
    read.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(mine.grad, its.grad, **near)
    owners = {p.data_ptr(): p for p in part.parameters()}
    for p, made in pairs(part, one):
        for theirs, ours in zip(p.grad.split([len(y) for y in made]), made, strict=True):
            torch.testing.assert_close(owners[ours.data_ptr()].grad.view_as(theirs), theirs, **near)


def test_constants_stand_where_they_are_said_to():
    part, x = hybrid(), inputs()
    looked, kept = part.attention_mixer(1.2 * x, info()), part.recurrent_mixer(1.25 * x, info())
    torch.testing.assert_close(part(x, info()), 0.9 * looked + 0.6 * kept)


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_documents_and_padding_anywhere(chunk):
    check_documents_and_padding(hybrid(), chunk)


def test_what_the_recurrence_hands_on_is_for_its_like_alone():
    both = {"attention_mixer": PLAIN, "recurrent_mixer": "rwkv7"}
    first, second = (drawn("parallel_hybrid", **both, place=Place(i, 2)) for i in (0, 1))
    at = info()
    first(inputs(), at)
    assert set(at.out) == {"recurrent.rwkv7_first_value"}
    read = second(inputs(), info(carry=at.out))
    other = {word: value + 1 for word, value in at.out.items()}
    assert not torch.allclose(second(inputs(), info(carry=other)), read)


def test_an_attention_that_does_not_turn_is_refused():
    with pytest.raises(UserError, match=r"needs rotates, biases of its attention_mixer, and attention/lstm"):
        compose("llama_tiny", ["model/attention=parallel_hybrid", "model/attention/attention_mixer=lstm"])
    with pytest.raises(ValueError, match="n_groups=3 does not divide"):
        build(
            "attention", "parallel_hybrid", d_model=D, attention_mixer=PLAIN, recurrent_mixer={"name": "mamba2", "n_groups": 3}
        )


def test_flops():
    part = hybrid()
    assert reported(part, 9).executed == counted(part, 9)
