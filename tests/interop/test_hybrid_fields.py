"""Fields of Falcon-H1, MiniMax, Nemotron-H, OLMo Hybrid and xLSTM: what is refused and why, constants that come back as they were written, tables of decays."""

from __future__ import annotations

import pytest
import torch
from oracles_falcon_h1 import ORACLES as FALCONS
from oracles_minimax import LAYERS
from oracles_minimax import ORACLES as MINIMAXES
from oracles_nemotron_h import ORACLES as NEMOTRONS
from oracles_olmo_hybrid import ORACLES as OLMOS
from oracles_xlstm import ORACLES as XLSTMS
from parity import Oracle, made, theirs
from safetensors.torch import load_file, save_file

from components import build
from components.core.errors import UserError
from components.core.sockets import Place
from components.interop import convert
from components.interop.config import architecture_of, config_of, recipe_of

pytest.importorskip("transformers")
FALCON, MINIMAX, NEMOTRON, SPARSE = FALCONS[0], MINIMAXES[0], *NEMOTRONS[:2]


def fields_of(oracle: Oracle) -> dict:
    return {"architectures": [oracle.cls], **oracle.config[1]}


def recipe(config: dict) -> dict:
    return recipe_of(architecture_of(config, "config.json"), config, "config.json")[0]


@pytest.mark.parametrize(
    ("oracle", "change", "said"),
    [
        (FALCON, {"time_step_limit": [0.1, 0.9]}, r"time_step_limit=\[0.1, 0.9\]: only from 0 without end"),
        (FALCON, {"mamba_d_head": 12}, "mamba_d_head=12: 4 heads have to be 64 wide together"),
        (FALCON, {"projectors_bias": True}, "both projections of a Mamba-2 have one, or neither"),
        (
            MINIMAX,
            {"mlp_alpha_factor": 2.0},
            r"full_attn_alpha_factor=1.7: a model has one for all branches, and here are \[1.7, 1.7, 2.0\]",
        ),
        (MINIMAX, {"block_size": 64}, "block_size=64: only 256"),
        (MINIMAX, {"layer_types": ["mamba", *LAYERS[1:]]}, "layer_types: mamba is not known"),
        (NEMOTRON, {"hybrid_override_pattern": "MX"}, "hybrid_override_pattern: X is not known, there are M, "),
        (SPARSE, {"moe_latent_size": 8}, "moe_latent_size=8: only None"),
        (OLMOS[0], {"layer_types": ["mamba"] * 4}, "layer_types: mamba is not known"),
        (XLSTMS[0], {"use_bias": True}, "use_bias=True: only False"),
        (SPARSE, {"mlp_bias": True}, "mlp_bias=True with experts: the class gives one to the shared expert alone"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else None,
)
def test_what_is_refused(oracle, change, said):
    with pytest.raises(UserError, match=said):
        recipe({**fields_of(oracle), **change})


def test_channels_are_turned_as_the_models_own_code_does_and_not_its_class():
    """8 of 16 by ``rotary_dim``; the class would turn all, so such a model does not go out under its name."""
    config = {**fields_of(MINIMAX), "rotary_dim": 8}
    nodes = recipe(config)
    assert nodes["model"]["position"]["fraction"] == 0.5
    assert "fraction" not in recipe({**config, "rotary_dim": 16})["model"]["position"]
    with pytest.raises(UserError, match=r"partial_rotary_factor=0\.5: the class turns all channels"):
        config_of(architecture_of(config, "config.json"), convert.spelled_out(nodes))


@pytest.mark.parametrize("factor", [0.39062499999999994, 0.5, 1 / 3, 0.7, 2**0.5, 1.0])
@pytest.mark.parametrize("width", [None, 16])
def test_the_constant_on_keys_comes_back(factor, width):
    """As a factor on scores, and that is the same to the bit when it is read again."""
    config = {**fields_of(FALCON), "key_multiplier": factor, **({} if width is None else {"head_dim": width})}
    architecture = architecture_of(config, "config.json")
    nodes = recipe(config)
    written = {**config_of(architecture, convert.spelled_out(nodes)), "vocab_size": 97}
    assert written["key_multiplier"] == pytest.approx(factor, rel=1e-15)
    again = recipe({**config, **written})
    assert again["model"]["attention"] == nodes["model"]["attention"]


def test_a_width_by_expansion_and_by_itself():
    config = {**fields_of(FALCON), "mamba_d_ssm": None, "mamba_expand": 2}
    node = convert.spelled_out(recipe(config))["model"]["attention"]["recurrent_mixer"]
    assert node["expand"] == 2.0
    node = convert.spelled_out(recipe({**config, "mamba_d_ssm": 72}))["model"]["attention"]["recurrent_mixer"]
    assert node["expand"] == 1.5


def test_files_with_other_decays_are_refused(tmp_path):
    pair = made(MINIMAX, tmp_path)
    file = pair.folder / "model.safetensors"
    name, tensors = "model.layers.1.self_attn.slope_rate", load_file(file)
    assert theirs(MINIMAX).state_dict()[name].equal(tensors[name])
    save_file({**tensors, name: tensors[name] + 0.1}, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{name} has other numbers than the table that is computed here"):
        convert.read_folder(pair.folder)


def test_decays_are_those_of_the_class():
    model = theirs(MINIMAX)
    for i, layer in enumerate(model.model.layers[:2]):
        part = build("attention", "lightning", d_model=48, head_dim=16, place=Place(i, 3))
        torch.testing.assert_close(part.rates(torch.ones(1)), layer.self_attn.slope_rate.flatten())


def test_a_layer_of_two_branches_is_no_nemotron():
    config = fields_of(NEMOTRON)
    nodes = recipe(config)
    del nodes["model"]["layers"]["gqa"]
    with pytest.raises(UserError, match="layer 3 has gqa and mlp: each has one of mamba2, gqa, mlp, moe"):
        config_of(architecture_of(config, "config.json"), convert.spelled_out(nodes))


def test_the_width_of_an_xlstms_ffn_comes_back():
    """Rounded up as its class does it, or, where no such width is wanted, a factor that gives this very one."""
    config = fields_of(XLSTMS[0])
    assert recipe(config)["model"]["ffn"]["d_ff"] == 384  # 128 * 2.667 = 341.4, in 64s
    for width in (384, 341, 342, 1000, 7):
        nodes = recipe(config)
        nodes["model"]["ffn"]["d_ff"] = width
        written = config_of(architecture_of(config, "config.json"), convert.spelled_out(nodes))
        assert recipe({**written, "vocab_size": 97})["model"]["ffn"]["d_ff"] == width
        assert (written["ffn_round_up_to_multiple_of"] == 64) == (width == 384)


def test_a_rotation_of_olmo_hybrid_that_is_not_said_is_its_classs():
    config = {n: v for n, v in fields_of(OLMOS[0]).items() if n != "rope_parameters"}
    assert recipe(config)["model"]["position"] == {"name": "rope", "layout": "half", "base": 10000.0}
    assert recipe(fields_of(OLMOS[0]))["model"]["position"]["name"] == "none"
    nodes = recipe(config)
    nodes["model"]["block"] = "pre_norm"
    with pytest.raises(UserError, match="layer 3 has block pre_norm: a DeltaNet's is pre_norm, an attention's output_norm"):
        config_of(architecture_of(config, "config.json"), convert.spelled_out(nodes))
